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
# Negative values are KiB, positive ones pages.
_CACHE, _CACHE_OF_A_SCAN = -16_000, -1_000


def file_of(url: URL) -> str | None:
    """Return the file that a URL names, or None if it is in memory, a nested URI, or not SQLite at all."""
    if url.drivername not in {"sqlite", "sqlite+pysqlite"} or url.query or not url.database:
        return None
    return None if url.database == ":memory:" or url.database.startswith("file:") else url.database


def make_engine(url: URL) -> Engine:
    """Create an engine with explicit transactions, whose commits survive a power cut."""
    engine = create_engine(
        url,
        connect_args={"timeout": _BUSY_TIMEOUT_S, "check_same_thread": False},
        pool_size=4,
        # Errors reach logs: their parameters include digests and password hashes, and must not.
        hide_parameters=True,
    )
    event.listen(engine, "connect", _prepare)
    event.listen(engine, "begin", _begin)
    return engine


def check_file_permissions(file: Path) -> None:
    """
    Check, before reading anything, that a database belongs to this user alone and that no other user can write to its directory.

    SQLite replays a journal found next to the file, so anyone who can put one there controls the state. For a symbolic link both
    directories are checked. A file that others may read is made private: a file restored from a backup has the mode that the umask
    gave it. A missing file is not an error.

    Raises:
        StoreError: Others can write there, it belongs to another user, or it cannot be examined.
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
        # By name: closing any descriptor of a file drops all locks that this process holds on it (POSIX).
        if stat.S_ISREG(status.st_mode) and status.st_mode & 0o077:
            real.chmod(0o600)
    except FileNotFoundError:
        return
    except OSError as error:
        raise StoreError(f"The database {file} cannot be used: {error.strerror}.") from error


def lock(file: str) -> int:
    """
    Keep every other Server and every other program off a database file; return the lock's descriptor.

    Admission decides from memory: two Servers on one file would not see each other's revocations.

    Raises:
        DatabaseInUseError: Another Server is using it.
        StoreError: The file cannot be created or made private.
    """
    check_file_permissions(Path(file))
    # For a symbolic link, lock next to its target, where SQLite keeps its own locks: two names must not have one lock each.
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
        # Not before the lock is taken: closing any descriptor of a file drops all locks that this process holds on it (POSIX),
        # including SQLite's own if a store of this process has it open.
        _make_private(Path(file))
    except StoreError:
        os.close(descriptor)
        raise
    return descriptor


def try_to_begin_writing(conn: Connection, *, within_s: float) -> None:
    """Begin a write transaction within some seconds; raises DBAPIError if another program is writing."""
    # Through the driver: SQLAlchemy would begin the transaction first, and wait for as long as a Server does.
    raw(conn).execute(f"PRAGMA busy_timeout={int(within_s * 1000)}").close()
    conn.begin()


@contextmanager
def scanning(conn: Connection) -> Iterator[None]:
    """Use a small page cache while whole tables are read: each page is read once, and every pooled connection would keep its 16 MB."""
    raw(conn).execute(f"PRAGMA cache_size={_CACHE_OF_A_SCAN}").close()
    try:
        yield
    finally:
        raw(conn).execute(f"PRAGMA cache_size={_CACHE}").close()


def raw(conn: Connection) -> sqlite3.Connection:
    """Return the driver's connection."""
    return cast("sqlite3.Connection", conn.connection.dbapi_connection)


def _make_private(file: Path) -> None:
    """Make the database file private to its owner; SQLite gives its -wal and -shm files the same mode."""
    try:
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StoreError(f"The database {file} cannot be opened: {error.strerror}.") from error
    try:
        # A file restored from a backup has the mode that the umask gave it.
        os.fchmod(descriptor, 0o600)
    except OSError as error:
        raise StoreError(f"The database {file} cannot be kept private: {error.strerror}.") from error
    finally:
        os.close(descriptor)


def _prepare(connection: sqlite3.Connection, _record: object) -> None:
    # The driver must not begin transactions by itself: it would do so late and deferred, and SAVEPOINT would
    # not work as SQLAlchemy expects. `_begin` begins them explicitly, on every Python version: from 3.12 on there
    # is `autocommit=False`, but it begins deferred, and a deferred writer can fail half-way.
    connection.isolation_level = None
    for pragma in (
        "journal_mode=WAL",
        # FULL, not NORMAL: an acknowledged write must survive a power cut, not only a crash of the program.
        "synchronous=FULL",
        # On macOS an ordinary fsync returns before the data is on the disk; elsewhere this changes nothing.
        "fullfsync=ON",
        "checkpoint_fullfsync=ON",
        "foreign_keys=ON",
        "trusted_schema=OFF",
        # Overwrite deleted rows: what was removed must be gone from the file too.
        "secure_delete=ON",
        # Enrollments touch pages all over the indexes: checkpoint the write-ahead log less often, and cache more
        # (SQLite's defaults of 4 and 2 MB took a tenth longer).
        "wal_autocheckpoint=4000",
        f"cache_size={_CACHE}",
    ):
        connection.execute(f"PRAGMA {pragma}").close()


def _begin(conn: Connection) -> None:
    # IMMEDIATE: a writer takes the lock at once, rather than failing half-way when another one holds it.
    reading = conn.get_execution_options().get(READING)
    conn.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")
