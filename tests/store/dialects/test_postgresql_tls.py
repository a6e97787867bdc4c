"""Which PostgreSQL URLs are sure to reach the right database."""

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
def test_a_verified_or_local_database_is_accepted(url):
    """By certificate, channel binding, Unix socket or loopback address."""
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
def test_an_unverified_remote_database_is_reported(url, hosts):
    """Everything else, listed by host; the hosts behind a service name are unknown."""
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
def test_the_environment_is_read_as_libpq_reads_it(url, environ, hosts):
    """Libpq uses its variables for what the URL does not set, and the file of a service overrides them."""
    assert unverified_hosts(make_url(url), environ) == hosts


@pytest.fixture
def database(tmp_path):
    """Return a PostgreSQL that accepts TLS connections, and the file of its CA."""
    running = Cluster()
    try:
        authority, certificate, key = issued(tmp_path)
        running.serve_tls(certificate, key)
        yield running, authority
    finally:
        running.close()


@pytest.fixture
def impostor(tmp_path):
    """Return another PostgreSQL, which accepts every login and has a certificate for the same name from another CA."""
    running = Cluster()
    try:
        (tmp_path / "his").mkdir()
        _, certificate, key = issued(tmp_path / "his")
        running.serve_tls(certificate, key)
        running.allow_all_logins()
        yield running
    finally:
        running.close()


async def test_the_accepted_settings_detect_an_impostor(database, impostor):
    """If an impostor answers, `sslmode=require` accepts it; the two accepted settings do not."""
    cluster, authority = database
    right, wrong = (found.new_database().replace("127.0.0.1", "localhost") for found in (cluster, impostor))
    for query in ("channel_binding=require", f"sslmode=verify-full&sslrootcert={authority}"):
        await Store.open(f"{right}?{query}", audit_key=AUDIT_KEY).close()
        with pytest.raises(StoreError, match=r"channel binding|SSL error"):
            Store.open(f"{wrong}?{query}", audit_key=AUDIT_KEY)

    await Store.open(f"{wrong}?sslmode=require", audit_key=AUDIT_KEY).close()
