"""The one place that knows one database from another."""

import fcntl
import os
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Engine,
    String,
    Table,
    Update,
    create_engine,
    event,
    func,
)
from sqlalchemy import cast as cast_to
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from lyftdata.store.errors import StoreError

_BUSY_TIMEOUT_S = 30
_READING = "lyftdata_reading"


def make_engine(url: str | URL) -> Engine:
    """
    Return an engine for a URL.

    Raises:
        StoreError: Not a URL, or not a database of ours.
    """
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise StoreError("The database URL cannot be read.") from error
    if _file_of(parsed) is None:
        raise StoreError(
            "This version keeps its state in SQLite files only.",
            hint="Give sqlite:////absolute/path, without options.",
        )
    engine = create_engine(
        parsed,
        connect_args={"timeout": _BUSY_TIMEOUT_S, "check_same_thread": False},
        pool_size=4,
        # Errors reach logs: digests and password hashes in their parameters must not.
        hide_parameters=True,
    )
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def lock_database(engine: Engine) -> int | None:
    """
    Keep every other Server off an SQLite database, and everybody else; return what holds the lock.

    Admission answers from memory: two Servers on one file would not hear of each other's revocations.

    Raises:
        StoreError: Another Server is using it, or the file cannot be made or kept private.
    """
    if engine.dialect.name != "sqlite":
        return None
    file = f"{engine.url.database}.lock"
    try:
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StoreError(f"The database's lock {file} cannot be opened: {error.strerror}.") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        raise StoreError(
            f"Another Server is using the database {engine.url.database}.",
            hint="Stop it, or give this one a LYFTDATA_STAGING_DIR of its own.",
        ) from error
    try:
        # Not before the lock: closing any descriptor of a file drops all locks that this process has on it (POSIX),
        # SQLite's own too, if a store of this process had it open.
        _make_private(Path(str(engine.url.database)))
    except StoreError:
        os.close(descriptor)
        raise
    return descriptor


def unlock_database(lock: int | None) -> None:
    """Let other Servers have the database."""
    if lock is not None:
        os.close(lock)


def for_reading(engine: Engine) -> Engine:
    """Return the same engine for connections that only read, and so need not wait for the writer."""
    return engine.execution_options(**{_READING: True})


@contextmanager
def migrating(engine: Engine) -> Iterator[Connection]:
    """
    Give a connection in one transaction in which tables may be altered: all of it is kept, or nothing.

    SQLite alters a table by copying it and dropping the old one, and dropping it deletes its rows first: with
    foreign keys enforced, everything that hangs on them would go too. They are checked at the end instead.
    """
    with engine.connect() as conn:
        # Off the pool, so that closed is closed: no later transaction runs without foreign keys.
        conn.detach()
        if engine.dialect.name == "sqlite":
            # Past SQLAlchemy, which would begin a transaction first; inside of one this does nothing.
            _sqlite(conn).execute("PRAGMA foreign_keys=OFF").close()
        with conn.begin():
            yield conn
            if engine.dialect.name == "sqlite" and conn.exec_driver_sql("PRAGMA foreign_key_check").first():
                raise StoreError(
                    "After the upgrade rows would be without what they belong to; nothing was changed."
                )


def in_transaction(conn: Connection) -> bool:
    """Return whether the database still knows of our transaction; SQLite ends it by itself when a disk is full."""
    # PostgreSQL ends none by itself: there, undoing the savepoint fails if the transaction cannot go on.
    return conn.dialect.name != "sqlite" or _sqlite(conn).in_transaction


def insert_ignoring_conflict(conn: Connection, table: Table, values: dict[str, Any]) -> bool:
    """Insert a row unless its key is there; return whether this call inserted it. Two callers racing: one True."""
    build = postgresql.insert if conn.dialect.name == "postgresql" else sqlite.insert
    return conn.execute(build(table).values(values).on_conflict_do_nothing()).rowcount == 1


def upsert(
    conn: Connection,
    table: Table,
    rows: list[dict[str, Any]],
    *,
    keep: frozenset[str] = frozenset(),
    add: frozenset[str] = frozenset(),
) -> None:
    """Insert rows, or replace every column but the key and those named in `keep`; those in `add` are added up."""
    build = postgresql.insert if conn.dialect.name == "postgresql" else sqlite.insert
    statement = build(table)
    key = [column.name for column in table.primary_key]
    replaced = {
        c.name: c + statement.excluded[c.name] if c.name in add else statement.excluded[c.name]
        for c in table.columns
        if c.name not in {*key, *keep}
    }
    conn.execute(statement.on_conflict_do_update(index_elements=key, set_=replaced), rows)


def execute_many(conn: Connection, statement: Update, rows: Sequence[Mapping[str, Any]]) -> None:
    """
    Run a statement once a row, for routine traces: thousands a second, whose values are text and aware times alone.

    On SQLite past what SQLAlchemy does for every row of it, which takes longer than the database takes itself.
    """
    if conn.dialect.name != "sqlite":
        conn.execute(statement, rows)
        return
    compiled = statement.compile(dialect=conn.dialect)
    names = cast("list[str]", compiled.positiontup)
    conn.exec_driver_sql(str(compiled), [tuple(_plain(row[name]) for name in names) for row in rows])


def _plain(value: str | datetime) -> str:
    """Return a value as SQLAlchemy keeps it in SQLite: a time in UTC, without its zone."""
    return value if isinstance(value, str) else value.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")


def _file_of(url: URL) -> str | None:
    """Return the file that a URL means, or None if it is memory, a second URL inside of it, or not SQLite at all."""
    if url.drivername not in {"sqlite", "sqlite+pysqlite"} or url.query or not url.database:
        return None
    return None if url.database == ":memory:" or url.database.startswith("file:") else url.database


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


def _sqlite(conn: Connection) -> sqlite3.Connection:
    return cast("sqlite3.Connection", conn.connection.dbapi_connection)


def _prepare_sqlite(connection: sqlite3.Connection, _record: object) -> None:
    # The driver must not begin transactions by itself: it would do so late and deferred, and SAVEPOINT would
    # not work as SQLAlchemy expects. `_begin_sqlite` begins them outright. The same on every Python: from 3.12 there
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
    ):
        connection.execute(f"PRAGMA {pragma}").close()


def _begin_sqlite(conn: Connection) -> None:
    # IMMEDIATE: the writer takes its place at once, rather than failing half-way when another holds it.
    reading = conn.get_execution_options().get(_READING)
    conn.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")


def seconds_since_1970(conn: Connection, time: ColumnElement[datetime]) -> ColumnElement[int]:
    """Return the whole seconds of a time as an integer, whose division is that of integers."""
    if conn.dialect.name == "sqlite":
        return cast_to(func.strftime("%s", time, type_=String()), BigInteger)
    return cast_to(func.floor(func.extract("epoch", time)), BigInteger)
