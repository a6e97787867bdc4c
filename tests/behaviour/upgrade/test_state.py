"""Backup, restore, migration and upgrade under running Workers."""

import contextlib
import json
import shutil
import sqlite3
import stat
from pathlib import Path

import httpx2
import psycopg
import pytest
from tests.builders import ENROLLMENT_KEY, OTHER_SECRET_KEY, SECRET_KEY
from tests.processes import PASSWORD, Host, free_port, until

import lyftdata
from lyftdata.store import migrate


@pytest.fixture
def fleet(site):
    """Return two running Workers, one of each strategy, both online."""
    key = site.operator.done("workers", "add", "press-01", "--id", "press-01", "--issue-key").strip()
    keyed = site.worker_host("a", LYFTDATA_WORKER_ID="press-01", LYFTDATA_WORKER_API_KEY=key)
    enrolled = site.worker_host(
        "b", LYFTDATA_WORKER_NAME="press-02", LYFTDATA_AUTO_ENROLLMENT_KEY=ENROLLMENT_KEY
    )
    agents = [host.start("run", "worker") for host in (keyed, enrolled)]
    for agent in agents:
        agent.wait_for("online")
    return agents


def secrets_of(site):
    """Return the secret key, which must not be printed."""
    return (site.root / "server" / "staging" / "secret.key").read_text().strip()


def statuses(site):
    """Return every Worker's status by name."""
    return {worker["name"]: worker["status"] for worker in site.workers().values()}


def test_a_server_moves_to_postgresql_under_a_fleet(site, fleet, cluster):
    """After backup, stop, migration and start the same Workers reconnect, and the operator is still signed in."""
    url = cluster.new_database()
    (site.server_host.home / "database").write_text(url)
    given = {"LYFTDATA_DATABASE_URL_FILE": "database"}
    staging = site.root / "server" / "staging"
    saved = json.loads(site.server_host.done("admin", "backup", "monday.db", "--json"))
    assert stat.S_IMODE((site.server_host.home / "monday.db").stat().st_mode) == 0o600
    assert saved["audit"]["ok"] is True
    workers = site.workers()

    too_early = site.server_host.run("admin", "migrate", **given)
    assert too_early.returncode == 1
    assert "A Server is using the database" in too_early.stderr
    assert site.server.terminate() == 0
    moved = site.server_host.run("admin", "migrate", **given)

    assert moved.returncode == 0, moved.stderr
    for secret in (secrets_of(site), "not-a-secret"):
        assert secret not in moved.stdout + moved.stderr
    assert f"LYFTDATA_SECRET_KEY_FILE={staging / 'secret.key'}" in moved.stderr
    assert "workers" in moved.stdout
    again = site.server_host.run("admin", "migrate", "--json", **given)
    assert again.returncode == 1
    assert "not empty" in again.stderr

    # Only the settings that the command has printed.
    server = site.start_server(
        **given, LYFTDATA_SECRET_KEY_FILE=str(staging / "secret.key"), LYFTDATA_PUBLIC_URL=site.url
    )
    for agent in fleet:
        agent.wait_for("online", count=2)
    assert statuses(site) == {"press-01": "online", "press-02": "online"}
    assert set(site.workers()) == set(workers)
    report = site.operator.json("audit", "verify")
    assert report["ok"] is True
    assert report["checked"] >= saved["audit"]["events"]
    assert server.terminate() == 0


def test_a_backup_is_restored_under_a_fleet(site, fleet):
    """A restore needs confirmation and a stopped Server, and keeps the replaced database; a Worker disabled since reconnects by itself."""
    host = site.server_host
    copied = host.json("admin", "backup", "monday.db")
    site.operator.done("workers", "disable", "press-01", "--yes")
    fleet[0].wait_for("refused")

    unasked = host.run("admin", "restore", "monday.db")
    assert unasked.returncode == 2
    assert "Nothing was done" in unasked.stderr
    running = host.run("admin", "restore", "monday.db", "--yes")
    assert running.returncode == 1
    assert "A Server is using the database" in running.stderr
    assert site.server.terminate() == 0
    restored = host.json("admin", "restore", "monday.db", "--yes")

    assert restored["audit"] == copied["audit"]
    assert (site.root / "server" / "staging" / restored["kept"]).is_file()
    site.start_server()
    fleet[0].wait_for("online", count=2)
    until(lambda: set(statuses(site).values()) == {"online"}, "both online")
    assert site.operator.json("audit", "verify")["ok"] is True
    # It can only be read with the Server's own secret key.
    assert site.server.terminate() == 0
    other = host.run("admin", "restore", "monday.db", "--yes", LYFTDATA_SECRET_KEY=OTHER_SECRET_KEY)
    assert other.returncode == 1
    assert "does not fit the secret key" in other.stderr
    assert OTHER_SECRET_KEY not in other.stderr


@pytest.mark.parametrize(
    ("arguments", "environ", "code", "problem"),
    [
        (("migrate",), {}, 2, "LYFTDATA_DATABASE_URL: must be the URL of the empty PostgreSQL database"),
        (("migrate",), {"LYFTDATA_DATABASE_URL": "sqlite:////tmp/other.db"}, 2, "empty PostgreSQL database"),
        (("migrate", "--database-url", "postgresql://a:hush@b/c"), {}, 2, "--database-url does not exist"),
        (("backup", "x.db"), {"LYFTDATA_DATABASE_URL": "postgresql://a:hush@/c"}, 2, "pg_dump"),
        (("migrate",), {"LYFTDATA_DATABASE_URL": "postgresql://a:hush@b/c"}, 2, "sslmode=verify-full"),
        (("restore", "no.db", "--yes"), {}, 2, "does not exist"),
        (("backup", "key.txt"), {}, 1, "exists already"),
        (("backup", "x.db", "--staging-dir", "nowhere"), {}, 2, "No such file or directory"),
        (("backup", "x.db"), {"LYFTDATA_SECRET_KEY": OTHER_SECRET_KEY}, 1, "DOES NOT FIT THE SECRET KEY"),
        (
            ("unlock", "admin", "--staging-dir", "nowhere"),
            {},
            2,
            "nowhere cannot be used: No such file or directory",
        ),
        (("unlock", "admin"), {"LYFTDATA_SECRET_KEY": OTHER_SECRET_KEY}, 1, "does not fit the secret key"),
        (
            ("reset-password", "admin", "--yes"),
            {"LYFTDATA_SECRET_KEY": OTHER_SECRET_KEY},
            1,
            "nothing was changed",
        ),
    ],
)
def test_mistakes_on_the_servers_host_are_reported(plain_site, arguments, environ, code, problem):
    """Wrong settings exit 2, other errors exit 1; no password is repeated, and a running Server is not disturbed."""
    (plain_site.server_host.home / "key.txt").write_text("precious")

    done = plain_site.server_host.run("admin", *arguments, **environ)

    assert (done.returncode, problem in done.stderr) == (code, True), done.stderr
    assert "hush" not in done.stderr
    assert "Traceback" not in done.stderr
    assert (plain_site.server_host.home / "key.txt").read_text() == "precious"
    assert plain_site.operator.json("audit", "verify")["ok"] is True


def test_a_start_with_a_changed_audit_log_reports_it(plain_site):
    """The Server logs the first changed event and shows the problem on /metrics, but works."""
    assert plain_site.server.terminate() == 0
    file = plain_site.root / "server" / "staging" / "lyftdata.db"
    with contextlib.closing(sqlite3.connect(file)) as raw, raw:
        raw.execute("UPDATE audit_events SET subject = 'operator:eve' WHERE number = 1")
    server = plain_site.start_server()

    logged = server.wait_for("audit_log_changed")
    assert (logged["level"], logged["first_bad"]) == ("error", 1)
    assert "lyftdata_audit_log_intact 0.0" in httpx2.get(f"{plain_site.url}/metrics", timeout=180).text
    assert plain_site.operator.run("audit", "verify").returncode == 1


def test_a_restore_lists_the_workers_that_the_backup_lacks(site):
    """Workers that were added or enrolled since; an enrolled one can enroll again once its directory is removed."""
    host = site.server_host
    host.done("admin", "backup", "monday.db")
    site.operator.done("workers", "add", "press-07", "--id", "press-07")
    given = {"LYFTDATA_WORKER_NAME": "press-08", "LYFTDATA_AUTO_ENROLLMENT_KEY": ENROLLMENT_KEY}
    late = site.worker_host("late", **given)
    agent = late.start("run", "worker")
    enrolled_as = agent.wait_for("online")["worker_id"]
    assert agent.terminate() == 0
    assert site.server.terminate() == 0

    restored = host.run("admin", "restore", "monday.db", "--yes", "--json")

    missing = [tuple(worker.values()) for worker in json.loads(restored.stdout)["missing_workers"]]
    assert missing == [("press-07", "press-07", "api_key"), (enrolled_as, "press-08", "auto_enrollment")]
    assert f"unknown now: press-08 ({enrolled_as})." in restored.stderr
    assert "unknown now: press-07 (press-07)." in restored.stderr
    site.start_server()
    refused = late.start("run", "worker")
    assert refused.exit_code() == 3
    (reference,) = [event["reference"] for event in refused.events("refused")]
    assert "directory" in site.operator.done("refusals", "show", reference)
    shutil.rmtree(late.home / "jobs")
    late.start("run", "worker").wait_for("online")


def test_a_restore_needs_the_secret_key_first(plain_site):
    """On a new host without it, an unusable database is not installed."""
    host = plain_site.server_host
    host.done("admin", "backup", "monday.db")

    lost = host.run("admin", "restore", "monday.db", "--yes", LYFTDATA_STAGING_DIR=str(host.home / "new"))

    assert lost.returncode == 2
    assert "put the Server's secret key there" in lost.stderr
    assert list((host.home / "new").iterdir()) == []
    (host.home / "new" / "secret.key").touch(mode=0o600)
    (host.home / "new" / "secret.key").write_text(secrets_of(plain_site))
    put = host.run("admin", "restore", "monday.db", "--yes", LYFTDATA_STAGING_DIR=str(host.home / "new"))
    assert put.returncode == 0, put.stderr


NEXT = """
import sqlalchemy as sa
from alembic import op

revision = "9999"
down_revision = "{before}"
branch_labels = None
depends_on = None
oldest_program = "{before}"


def upgrade():
    op.add_column("workers", sa.Column("favourite", sa.String(length=16), nullable=True))
"""


def test_servers_are_upgraded_one_by_one(open_site, tmp_path, cluster):
    """A newer version joins and both serve; the older one crashes and restarts, and is finally upgraded too."""
    url = cluster.new_database()
    shutil.copytree(Path(lyftdata.__file__).parent, tmp_path / "next" / "lyftdata")
    versions = tmp_path / "next" / "lyftdata" / "store" / "migrations" / "versions"
    (versions / "9999_next.py").write_text(NEXT.format(before=migrate.newest_version()))
    port = free_port()
    shared = {
        "LYFTDATA_DATABASE_URL": url,
        "LYFTDATA_SECRET_KEY": SECRET_KEY,
        "LYFTDATA_PUBLIC_URL": "http://lyft.example",
        "LYFTDATA_AUTO_ENROLLMENT_KEY": ENROLLMENT_KEY,
    }
    site = open_site(**shared)
    operator = site.sign_in()
    key = operator.done("workers", "add", "press-01", "--id", "press-01", "--issue-key").strip()
    agent = site.worker_host("a", LYFTDATA_WORKER_ID="press-01", LYFTDATA_WORKER_API_KEY=key).start(
        "run", "worker"
    )
    agent.wait_for("online")

    newer = Host(
        tmp_path / "b",
        PYTHONPATH=str(tmp_path / "next"),
        LYFTDATA_BIND_ADDRESS=f"127.0.0.1:{port}",
        LYFTDATA_STAGING_DIR=str(tmp_path / "b" / "staging"),
        **shared,
    )
    newer.start("run", "server").wait_for("ready")
    with psycopg.connect(url) as conn:
        assert conn.execute("SELECT version_num FROM alembic_version").fetchall() == [("9999",)]

    # Each acts on decisions of the other.
    other = Host(tmp_path / "operator-b", LYFTDATA_URL=f"http://127.0.0.1:{port}")
    other.done("login", "admin", "--password-stdin", stdin=f"{PASSWORD}\n")
    other.done("workers", "disable", "press-01", "--yes")
    assert agent.wait_for("refused")["code"] == "worker_disabled"
    operator.done("workers", "enable", "press-01")
    agent.wait_for("online", count=2)

    site.server.kill()
    site.start_server()
    agent.wait_for("online", count=3)
    assert operator.json("audit", "verify")["ok"] is True

    assert site.server.terminate() == 0
    site.start_server(PYTHONPATH=str(tmp_path / "next"))
    agent.wait_for("online", count=4)
    assert site.status("press-01") == "online"
    assert other.json("audit", "verify")["ok"] is True
