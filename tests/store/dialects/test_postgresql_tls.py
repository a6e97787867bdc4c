"""Which URLs of PostgreSQL are sure to reach the right database."""

import pytest
from sqlalchemy.engine import make_url
from tests.certificates import issued
from tests.postgres import Cluster
from tests.store.conftest import AUDIT_KEY

from lyftdata.store import Store, StoreError
from lyftdata.store.dialects.postgresql_tls import unverified_hosts

REMOTE = "postgresql://u:p@db.example/state"


@pytest.mark.parametrize(
    "url",
    [
        "postgresql:///state",
        "postgresql://u:p@/state?host=/run/postgresql",
        "postgresql://u:p@/state?host=@abstract",
        "postgresql://u:p@localhost/state",
        "postgresql://u:p@LOCALHOST:6432/state",
        "postgresql://u:p@127.8.0.1/state",
        "postgresql://u:p@[::1]/state",
        "postgresql://u:p@/state?host=127.0.0.1:5432&host=localhost:5433",
        "postgresql://u:p@db.example/state?hostaddr=127.0.0.1",
        f"{REMOTE}?sslmode=verify-full",
        f"{REMOTE}?channel_binding=require",
        f"{REMOTE}?sslmode=require&channel_binding=require",
        "postgresql://u:p@/state?host=db1:5432&host=db2:5432&sslmode=verify-full&target_session_attrs=read-write",
        "postgresql:///state?service=remote&sslmode=verify-full",
        "postgres://u:p@db.example/state?sslmode=verify-full",
    ],
)
def test_verified_or_on_this_machine(url):
    """A checked certificate, the password's own proof, a Unix socket, a loopback address."""
    assert unverified_hosts(make_url(url), {}) == []


@pytest.mark.parametrize(
    ("url", "hosts"),
    [
        (REMOTE, ["db.example"]),
        ("postgres://u:p@db.example/state", ["db.example"]),
        ("postgresql+psycopg://u:p@db.example/state", ["db.example"]),
        *((f"{REMOTE}?sslmode={mode}", ["db.example"]) for mode in ("disable", "allow", "prefer", "require", "verify-ca")),
        (f"{REMOTE}?sslmode=VERIFY-FULL", ["db.example"]),
        (f"{REMOTE}?SSLMODE=verify-full", ["db.example"]),
        (f"{REMOTE}?sslmode=verify-full%20", ["db.example"]),
        (f"{REMOTE}?sslmode=verify-full&sslmode=disable", ["db.example"]),
        (f"{REMOTE}?channel_binding=prefer", ["db.example"]),
        ("postgresql://u:p@10.0.0.5/state", ["10.0.0.5"]),
        ("postgresql://u:p@[fd00::5]/state", ["fd00::5"]),
        ("postgresql://u:p@localhost.example/state", ["localhost.example"]),
        ("postgresql://u:p@/state?host=localhost:5432&host=db2:5432", ["db2"]),
        ("postgresql://u:p@/state?host=/run/postgresql,db2,db3", ["db2", "db3"]),
        ("postgresql://u:p@localhost/state?host=db1", ["db1"]),
        ("postgresql://u:p@localhost/state?hostaddr=10.0.0.5", ["10.0.0.5"]),
        ("postgresql://u:p@/state?host=localhost,db2&hostaddr=127.0.0.1,", ["db2"]),
        ("postgresql:///state?service=remote", ["the service remote"]),
        ("postgresql://u:p@localhost/state?service=remote", ["the service remote"]),
    ],
)  # fmt: skip
def test_not_verified_on_another_host(url, hosts):
    """Everything else, each host by itself, and whatever hides behind a service's name."""
    assert unverified_hosts(make_url(url), {}) == hosts


@pytest.mark.parametrize(
    ("url", "environ", "hosts"),
    [
        (REMOTE, {"PGSSLMODE": "verify-full"}, []),
        (REMOTE, {"PGCHANNELBINDING": "require"}, []),
        (REMOTE, {"PGSSLMODE": "require"}, ["db.example"]),
        (f"{REMOTE}?sslmode=require", {"PGSSLMODE": "verify-full"}, ["db.example"]),
        ("postgresql:///state", {"PGHOST": "db.example"}, ["db.example"]),
        ("postgresql://u:p@localhost/state", {"PGHOSTADDR": "10.0.0.5"}, ["10.0.0.5"]),
        ("postgresql:///state", {"PGSERVICE": "remote", "PGSSLMODE": "verify-full"}, ["the service remote"]),
        ("postgresql:///state", {"PGHOST": "", "PGSERVICE": ""}, []),
    ],
)
def test_the_environment_counts_as_it_does_for_the_library(url, environ, hosts):
    """Libpq takes from its variables what the URL does not say, and less from them than from a service's file."""
    assert unverified_hosts(make_url(url), environ) == hosts


@pytest.fixture
def database(tmp_path):
    """Return a PostgreSQL that takes TLS connections, and the file of the authority that its certificate is from."""
    running = Cluster()
    try:
        authority, certificate, key = issued(tmp_path)
        running.serve_tls(certificate, key)
        yield running, authority
    finally:
        running.close()


@pytest.fixture
def impostor(tmp_path):
    """Return another PostgreSQL, which takes everybody and has a certificate for the same name from elsewhere."""
    running = Cluster()
    try:
        (tmp_path / "his").mkdir()
        _, certificate, key = issued(tmp_path / "his")
        running.serve_tls(certificate, key)
        running.allow_all_logins()
        yield running
    finally:
        running.close()


async def test_what_is_accepted_finds_an_impostor_and_what_is_refused_does_not(database, impostor):
    """Where another answers in the database's place, `sslmode=require` takes it for the database; the two ways that count do not."""
    cluster, authority = database
    right, wrong = (found.new_database().replace("127.0.0.1", "localhost") for found in (cluster, impostor))
    for query in ("channel_binding=require", f"sslmode=verify-full&sslrootcert={authority}"):
        await Store.open(f"{right}?{query}", audit_key=AUDIT_KEY).close()
        with pytest.raises(StoreError, match=r"channel binding|SSL error"):
            Store.open(f"{wrong}?{query}", audit_key=AUDIT_KEY)

    await Store.open(f"{wrong}?sslmode=require", audit_key=AUDIT_KEY).close()
