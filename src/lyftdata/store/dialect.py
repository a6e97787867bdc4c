"""The one place that knows one database from another."""

import fcntl
import os
import sqlite3
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, Table, create_engine, event
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from lyftdata.store.errors import StoreError

_BUSY_TIMEOUT_S = 30
_READING = "lyftdata_reading"


def make_engine(url: str) -> Engine:
    """
    Return an engine for a URL.

    Raises:
        StoreError: Not a URL, or not a database of ours.
    """
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise StoreError("The database URL cannot be read.") from error
    if parsed.get_backend_name() != "sqlite" or not parsed.database:
        raise StoreError("This version keeps its state in SQLite files only.")
    _make_private(Path(parsed.database))
    engine = create_engine(
        parsed, connect_args={"timeout": _BUSY_TIMEOUT_S, "check_same_thread": False}, pool_size=4
    )
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def lock_database(engine: Engine) -> int | None:
    """
    Keep every other Server off an SQLite database; return what holds the lock until it is closed.

    Admission answers from memory: two Servers on one file would not hear of each other's revocations.

    Raises:
        StoreError: Another Server is using it.
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
    return descriptor


def unlock_database(lock: int | None) -> None:
    """Let other Servers have the database."""
    if lock is not None:
        os.close(lock)


def for_reading(engine: Engine) -> Engine:
    """Return the same engine for connections that only read, and so need not wait for the writer."""
    return engine.execution_options(**{_READING: True})


def insert_ignoring_conflict(conn: Connection, table: Table, values: dict[str, Any]) -> bool:
    """Insert a row unless its key is there; return whether this call inserted it. Two callers racing: one True."""
    build = postgresql.insert if conn.dialect.name == "postgresql" else sqlite.insert
    return conn.execute(build(table).values(values).on_conflict_do_nothing()).rowcount == 1


def upsert(
    conn: Connection, table: Table, rows: list[dict[str, Any]], *, keep: frozenset[str] = frozenset()
) -> None:
    """Insert rows, or replace every column but the key and those named in `keep`."""
    build = postgresql.insert if conn.dialect.name == "postgresql" else sqlite.insert
    statement = build(table)
    key = [column.name for column in table.primary_key]
    replaced = {c.name: statement.excluded[c.name] for c in table.columns if c.name not in {*key, *keep}}
    conn.execute(statement.on_conflict_do_update(index_elements=key, set_=replaced), rows)


def _make_private(file: Path) -> None:
    """Create the database file for its owner alone; SQLite gives its -wal and -shm files the same mode."""
    try:
        os.close(os.open(file, os.O_RDWR | os.O_CREAT, 0o600))
    except OSError as error:
        raise StoreError(f"The database {file} cannot be opened: {error.strerror}.") from error


def _prepare_sqlite(connection: sqlite3.Connection, _record: object) -> None:
    # The driver must not begin transactions by itself: it would do so late and deferred, and SAVEPOINT would
    # not work as SQLAlchemy expects. `_begin_sqlite` begins them outright.
    connection.isolation_level = None
    for pragma in (
        "journal_mode=WAL",
        # FULL, not NORMAL: what was acknowledged must survive a power cut, not only a crash of the program.
        "synchronous=FULL",
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
