"""Finds what holds the writer lock: a session in PostgreSQL, or a program that uses the SQLite file."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import msgspec
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from lyftdata.core.text import clean_text
from lyftdata.store.dialects import dialect
from lyftdata.store.errors import is_lock_timeout
from lyftdata.store.schema import writer_lock

# Holders of the lock on our table, and anything else that blocks a session of our role. Sessions that are themselves waiting are
# Servers in the queue. PostgreSQL shows the addresses of other roles' sessions only to roles with pg_read_all_stats.
_IN_POSTGRESQL = f"""
WITH holder (pid) AS (
    SELECT pid FROM pg_locks
    WHERE granted AND locktype = 'relation' AND relation = to_regclass('{writer_lock.name}')
      AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
      AND mode NOT IN ('AccessShareLock', 'RowShareLock', 'RowExclusiveLock')
    UNION
    SELECT unnest(pg_blocking_pids(pid)) FROM pg_stat_activity
    WHERE datname = current_database() AND usename = current_user AND wait_event_type = 'Lock'
)
SELECT pid, coalesce(usename, ''), coalesce(application_name, ''), coalesce(host(client_addr), '')
FROM holder JOIN pg_stat_activity USING (pid)
WHERE wait_event_type IS DISTINCT FROM 'Lock'
ORDER BY pid LIMIT 5
"""  # noqa: S608 - a constant

# The byte of the index file (-shm) that a writer locks, in SQLite's WAL mode ("WAL-Mode File Format", 2.3.1).
_SQLITE_WRITE_LOCK_BYTE = 120
_LOCKS = Path("/proc/locks")


class LockHolder(msgspec.Struct, frozen=True):
    """A session or program that holds a lock, as far as the database or the system shows it; all text is safe to display."""

    pid: int
    role: str = ""
    application: str = ""
    address: str = ""


def find(conn: Connection) -> list[LockHolder]:
    """Return who holds the writer lock now; empty if that cannot be seen."""
    if dialect.is_shared(conn.engine):
        rows = conn.exec_driver_sql(_IN_POSTGRESQL).all()
        return [LockHolder(pid, *(clean_text(text, 64) for text in seen)) for pid, *seen in rows]
    return [LockHolder(pid, application=_program(pid)) for pid in _sqlite_writers(conn)]


def describe(holders: list[LockHolder]) -> str:
    """Describe the holders for an operator, in one line."""
    return "; ".join(
        ", ".join(
            f"{name} {value}"
            for name, value in msgspec.structs.asdict(holder).items()
            if value not in ("", 0)
        )
        for holder in holders
    )


def _sqlite_writers(conn: Connection) -> Iterator[int]:
    """Yield the processes that hold the write lock; only Linux shows them."""
    # Not with F_GETLK: closing the file again would drop the locks that SQLite holds on it in this process.
    try:
        inode = os.stat(f"{conn.engine.url.database}-shm").st_ino  # noqa: PTH116 - a string, not a path
        lines = _LOCKS.read_text(encoding="ascii").splitlines()
    except OSError:
        return
    byte = str(_SQLITE_WRITE_LOCK_BYTE)
    for line in lines:
        # 1: POSIX  ADVISORY  WRITE 4711 fd:01:1234 120 120
        fields = line.split()
        if fields[3:4] == ["WRITE"] and fields[5].endswith(f":{inode}") and fields[6:8] == [byte, byte]:
            pid = int(fields[4])
            if pid not in {0, os.getpid()}:
                yield pid


def _program(pid: int) -> str:
    try:
        return clean_text(Path(f"/proc/{pid}/comm").read_text(encoding="utf-8", errors="replace").strip(), 64)
    except OSError:
        return ""


def describe_lock_holder(engine: Engine, error: BaseException) -> str:
    """Return a sentence that names the holder of the lock for which a statement timed out, or ""."""
    if not isinstance(error, DBAPIError) or not is_lock_timeout(error):
        return ""
    with contextlib.suppress(DBAPIError), dialect.for_reading(engine).connect() as conn:
        if holders := find(conn):
            return f" The lock is held by: {describe(holders)}."
    return ""
