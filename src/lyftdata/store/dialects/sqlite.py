"""SQLite, for one Server with one file."""

import fcntl
import os
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import cast

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import URL

from lyftdata.private_files import others_can_write
from lyftdata.store.errors import DatabaseInUseError, StoreError

READING = "lyftdata_reading"

_BUSY_TIMEOUT_S = 30
# Negative is in KiB, and positive in pages.
_CACHE, _CACHE_OF_A_SCAN = -16_000, -1_000


def file_of(url: URL) -> str | None:
    """Return the file that a URL means, or None if it is memory, a second URL inside of it, or not SQLite at all."""
    if url.drivername not in {"sqlite", "sqlite+pysqlite"} or url.query or not url.database:
        return None
    return None if url.database == ":memory:" or url.database.startswith("file:") else url.database


def make_engine(url: URL) -> Engine:
    """Return an engine whose transactions are outright ones, and whose commits survive a power cut."""
    engine = create_engine(
        url,
        connect_args={"timeout": _BUSY_TIMEOUT_S, "check_same_thread": False},
        pool_size=4,
        # Errors reach logs: digests and password hashes in their parameters must not.
        hide_parameters=True,
    )
    event.listen(engine, "connect", _prepare)
    event.listen(engine, "begin", _begin)
    return engine


def check_file_permissions(file: Path) -> None:
    """
    Check that a database is this user's alone, before anything is read from it: no other user may write where it is.

    SQLite plays back a journal that lies next to the file, so anyone who can put one there writes the state. Of a symbolic link
    both directories count. A file that others may read is closed to them: a copy put back from a backup has the mode that
    the umask gave it. No file there is no fault.

    Raises:
        StoreError: Others can write there, it belongs to another user, or it cannot be looked at.
    """
    real = Path(os.path.realpath(file))
    try:
        for directory in dict.fromkeys((file.parent, real.parent)):
            if others_can_write(directory):
                raise StoreError(
                    f"Others can write to {directory}, where the database {file.name} is.",
                    hint="Keep it in a directory of mode 0700: unset LYFTDATA_DATABASE_URL, or name one there.",
                )
        status = real.stat()
        if status.st_uid != os.geteuid():
            raise StoreError(
                f"The database {file} belongs to another user (UID {status.st_uid}).",
                hint="Run this as the user that the Server runs as.",
            )
        # By its name: closing any descriptor of a file drops all locks that this process has on it (POSIX).
        if stat.S_ISREG(status.st_mode) and status.st_mode & 0o077:
            real.chmod(0o600)
    except FileNotFoundError:
        return
    except OSError as error:
        raise StoreError(f"The database {file} cannot be used: {error.strerror}.") from error


def lock(file: str) -> int:
    """
    Keep every other Server off a database file, and everybody else; return what holds the lock.

    Admission answers from memory: two Servers on one file would not learn of each other's revocations.

    Raises:
        DatabaseInUseError: Another Server is using it.
        StoreError: The file cannot be made or kept private.
    """
    check_file_permissions(Path(file))
    # Of a symbolic link what it leads to, where SQLite keeps its own locks: two names must not have a lock each.
    lock_file = f"{os.path.realpath(file)}.lock"
    try:
        descriptor = os.open(lock_file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StoreError(f"The database's lock {lock_file} cannot be opened: {error.strerror}.") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        raise DatabaseInUseError(
            f"Another Server is using the database {file}.",
            hint="Stop it, or give this one a LYFTDATA_STAGING_DIR of its own. "
            "Several Servers on one state need PostgreSQL.",
        ) from error
    try:
        # Not before the lock: closing any descriptor of a file drops all locks that this process has on it (POSIX),
        # SQLite's own too, if a store of this process had it open.
        _make_private(Path(file))
    except StoreError:
        os.close(descriptor)
        raise
    return descriptor


def try_to_begin_writing(conn: Connection, *, within_s: float) -> None:
    """Begin a transaction that writes, within some seconds; raises DBAPIError if another program is writing."""
    # By the driver: SQLAlchemy would begin the transaction first, and wait for as long as a Server does.
    raw(conn).execute(f"PRAGMA busy_timeout={int(within_s * 1000)}").close()
    conn.begin()


@contextmanager
def scanning(conn: Connection) -> Iterator[None]:
    """Cache little while whole tables are read: each page is read once, and each connection of the pool would keep its 16 MB."""
    raw(conn).execute(f"PRAGMA cache_size={_CACHE_OF_A_SCAN}").close()
    try:
        yield
    finally:
        raw(conn).execute(f"PRAGMA cache_size={_CACHE}").close()


def raw(conn: Connection) -> sqlite3.Connection:
    """Return the driver's connection."""
    return cast("sqlite3.Connection", conn.connection.dbapi_connection)


def _make_private(file: Path) -> None:
    """Keep the database file to its owner alone; SQLite gives its -wal and -shm files the same mode."""
    try:
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StoreError(f"The database {file} cannot be opened: {error.strerror}.") from error
    try:
        # A copy put back from a backup has the mode that the umask gave it.
        os.fchmod(descriptor, 0o600)
    except OSError as error:
        raise StoreError(f"The database {file} cannot be kept private: {error.strerror}.") from error
    finally:
        os.close(descriptor)


def _prepare(connection: sqlite3.Connection, _record: object) -> None:
    # The driver must not begin transactions by itself: it would do so late and deferred, and SAVEPOINT would
    # not work as SQLAlchemy expects. `_begin` begins them outright. The same on every Python: from 3.12 there
    # is `autocommit=False` as well, but it begins deferred, and a deferred writer can fail half-way.
    connection.isolation_level = None
    for pragma in (
        "journal_mode=WAL",
        # FULL, not NORMAL: what was acknowledged must survive a power cut, not only a crash of the program.
        "synchronous=FULL",
        # macOS answers an ordinary fsync before the disk has it; elsewhere this changes nothing.
        "fullfsync=ON",
        "checkpoint_fullfsync=ON",
        "foreign_keys=ON",
        "trusted_schema=OFF",
        # Deleted rows are overwritten: what was removed is gone from the file too.
        "secure_delete=ON",
        # Enrollments touch pages all over the indexes: what is written to the log is copied to the file less often, and what
        # is read again is kept (SQLite's own 4 and 2 MB took a tenth longer).
        "wal_autocheckpoint=4000",
        f"cache_size={_CACHE}",
    ):
        connection.execute(f"PRAGMA {pragma}").close()


def _begin(conn: Connection) -> None:
    # IMMEDIATE: the writer takes its place at once, rather than failing half-way when another holds it.
    reading = conn.get_execution_options().get(READING)
    conn.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")
