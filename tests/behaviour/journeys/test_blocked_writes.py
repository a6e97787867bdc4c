"""Another program holds the database's write lock: the Server's log and /readyz show it, and when it is over."""

import subprocess
import sys
from pathlib import Path

import httpx2
import psycopg
from tests.processes import until

LOCK_SQLITE = """
import sqlite3, sys
conn = sqlite3.connect(sys.argv[1], isolation_level=None)
conn.execute("BEGIN IMMEDIATE")
print("locked", flush=True)
sys.stdin.read()
"""


class SqliteLock:
    """Another program with an open write transaction on an SQLite file."""

    def __init__(self, file: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", LOCK_SQLITE, str(file)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "locked\n"
        self.pid = self._process.pid

    def release(self) -> None:
        """End the program."""
        self._process.communicate("")


class PostgresqlLock:
    """A session of a role that may change the Servers' tables."""

    def __init__(self, url: str) -> None:
        self._conn = psycopg.connect(url, application_name="nightly job")
        self._conn.execute("LOCK TABLE writer_lock IN ACCESS EXCLUSIVE MODE")
        self.pid = self._conn.info.backend_pid

    def release(self) -> None:
        """End the transaction."""
        self._conn.close()


def test_a_lock_held_by_another_program_shows_in_the_log_and_in_readyz(database, open_site):
    """The log names its holder; /readyz answers 503 while it lasts, and 200 once a change has been written again."""
    site = open_site()
    url = site.server_host.environ.get("LYFTDATA_DATABASE_URL")

    def status() -> int:
        return httpx2.get(f"{site.url}/readyz", timeout=180).status_code

    before = status()
    lock = PostgresqlLock(url) if url else SqliteLock(site.root / "server" / "staging" / "lyftdata.db")
    waits = site.server.wait_for("write_lock_wait")
    until(lambda: status() == 503, "the Server is not ready")
    site.server.wait_for("writes_unavailable")
    lock.release()
    site.server.wait_for("writes_resumed")

    assert before == 200
    assert [holder["pid"] for holder in waits["holders"]] == [lock.pid]
    if database == "postgresql":
        assert waits["holders"][0]["application"] == "nightly job"
        assert waits["holders"][0]["role"] == "owner"
    assert (waits["level"], waits["waited_s"] > 0) == ("warning", True)
    assert status() == 200
    assert "not-a-secret" not in site.server.log
    assert site.server.terminate() == 0
