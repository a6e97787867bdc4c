"""Selects the module of a database's dialect; no other module distinguishes between databases."""

import functools
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    Connection,
    Engine,
    Insert,
    String,
    Table,
    Update,
    bindparam,
    exists,
    func,
    literal_column,
    select,
)
from sqlalchemy import cast as cast_to
from sqlalchemy.dialects import postgresql as pg
from sqlalchemy.dialects import sqlite as lite
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from lyftdata.store.dialects import postgresql, sqlite
from lyftdata.store.errors import StoreError


def make_engine(url: str | URL) -> Engine:
    """
    Create an engine for a URL.

    Raises:
        StoreError: Not a URL, or neither SQLite nor PostgreSQL.
    """
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError) as error:
        # An unreadable URL may contain a password: it is not repeated.
        raise StoreError("The database URL cannot be read.") from error
    if sqlite.file_of(parsed) is not None:
        return sqlite.make_engine(parsed)
    if postgresql.is_postgresql_url(parsed):
        return postgresql.make_engine(parsed)
    raise StoreError(
        "The state is kept in an SQLite file or in PostgreSQL.",
        hint="Give sqlite:////absolute/path without options, or postgresql://user:password@host/database.",
    )


def is_shared(engine: Engine) -> bool:
    """Return whether several Servers may use the database at once."""
    return engine.dialect.name == "postgresql"


def check_file_permissions(engine: Engine) -> None:
    """Check that an SQLite file belongs to this user alone; raises StoreError."""
    if not is_shared(engine):
        sqlite.check_file_permissions(Path(str(engine.url.database)))


def lock_database(engine: Engine) -> int | None:
    """
    Keep every other Server off a database that only one may use; return the handle of the lock.

    Raises:
        StoreError: Another Server is using it, or the file cannot be created or made private.
    """
    return None if is_shared(engine) else sqlite.lock(str(engine.url.database))


def unlock_database(lock: int | None) -> None:
    """Release a lock taken by `lock_database`."""
    if lock is not None:
        os.close(lock)


def for_reading(engine: Engine) -> Engine:
    """Return the same engine for read-only connections, which need not wait for the writer."""
    if is_shared(engine):
        return postgresql.for_reading(engine)
    return engine.execution_options(**{sqlite.READING: True})


def scanning(conn: Connection) -> AbstractContextManager[None]:
    """Return a context for reading whole tables: little of them is cached, where the cache is in this process."""
    return nullcontext() if is_shared(conn.engine) else sqlite.scanning(conn)


def lock_out_other_writers(conn: Connection) -> None:
    """Wait for the writer lock, which only one Server can hold, at the start of a transaction."""
    if conn.dialect.name == "postgresql":
        postgresql.lock_out_other_writers(conn)


def try_to_lock_out_other_writers(conn: Connection, *, within_s: float) -> None:
    """
    Begin a transaction and take the writer lock, or fail within some seconds.

    Raises:
        DBAPIError: The lock is not free; see `is_lock_timeout`.
    """
    if conn.dialect.name == "postgresql":
        postgresql.try_to_lock_out_other_writers(conn, within_s=within_s)
    else:
        sqlite.try_to_begin_writing(conn, within_s=within_s)


@contextmanager
def migrating(engine: Engine) -> Iterator[Connection]:
    """
    Yield a connection in one transaction in which tables may be altered: all of it is kept, or nothing.

    SQLite alters a table by copying it and dropping the old one, which deletes its rows first: with foreign keys enforced, all
    rows that refer to them would go too. Foreign keys are checked at the end instead.
    """
    with engine.connect() as conn:
        # Detached from the pool, so that it is really closed: no later transaction may run without foreign keys.
        conn.detach()
        if engine.dialect.name == "sqlite":
            # Not through SQLAlchemy, which would begin a transaction first; inside one this pragma does nothing.
            sqlite.raw(conn).execute("PRAGMA foreign_keys=OFF").close()
        with conn.begin():
            # If several Servers start at once, one upgrades the schema, and the others find it upgraded.
            if is_shared(engine):
                postgresql.make_writer_lock(conn)
                postgresql.lock_out_other_writers(conn)
                postgresql.allow_long_statements(conn)
            yield conn
            if engine.dialect.name == "sqlite" and conn.exec_driver_sql("PRAGMA foreign_key_check").first():
                raise StoreError(
                    "The upgrade would leave rows that refer to missing rows; nothing was changed."
                )


def in_transaction(conn: Connection) -> bool:
    """Return whether the database still has our transaction open; SQLite ends it by itself when a disk is full."""
    if conn.dialect.name == "sqlite":
        return sqlite.raw(conn).in_transaction
    # PostgreSQL never ends one by itself, except when the connection ends.
    return not conn.invalidated


def insert_ignoring_conflict(conn: Connection, table: Table, values: dict[str, Any]) -> bool:
    """Insert a row unless its key exists; return whether this call inserted it. Of two racing callers one gets True."""
    build = pg.insert if conn.dialect.name == "postgresql" else lite.insert
    statement = build(table).values(values).on_conflict_do_nothing().returning(*table.primary_key)
    return conn.execute(statement).first() is not None


def insert_ignoring_conflicts(conn: Connection, table: Table, rows: list[dict[str, Any]]) -> set[Any]:
    """Insert rows except those whose key, one column, exists; return the keys that this call inserted."""
    (key,) = table.primary_key
    build = pg.insert if conn.dialect.name == "postgresql" else lite.insert
    statement = build(table).on_conflict_do_nothing().returning(key)
    return set(conn.execute(statement, rows).scalars())


def upsert(
    conn: Connection,
    table: Table,
    rows: list[dict[str, Any]],
    *,
    keep: frozenset[str] = frozenset(),
    add: frozenset[str] = frozenset(),
) -> None:
    """Insert rows, or replace every column except the key and those in `keep`; the values of those in `add` are added."""
    conn.execute(_upsert(conn.dialect.name, table, keep, add), rows)


# Cached: each statement holds a copy of its table in a reference cycle. Compiling one a second made the garbage collector run a
# full collection every minute or so, which with 10,000 held polls stopped every answer for half a second.
@functools.lru_cache(maxsize=64)
def _upsert(dialect: str, table: Table, keep: frozenset[str], add: frozenset[str]) -> Insert:
    build = pg.insert if dialect == "postgresql" else lite.insert
    statement = build(table)
    key = [column.name for column in table.primary_key]
    replaced = {
        c.name: c + statement.excluded[c.name] if c.name in add else statement.excluded[c.name]
        for c in table.columns
        if c.name not in {*key, *keep}
    }
    return statement.on_conflict_do_update(index_elements=key, set_=replaced)


@functools.lru_cache(maxsize=64)
def add_to_column(dialect: str, table: Table, column: str, *, parent: Column[str]) -> Insert:
    """
    Return a statement that adds to one integer column of a row, or inserts the row, if its parent row exists.

    Args:
        dialect: Name of the dialect.
        table: The first column of its key refers to `parent`; all columns except the key are integers.
        column: The column to add to; the others are 0 in an inserted row.
        parent: The key column that is referred to.
    """
    key = list(table.primary_key)
    given = [bindparam(one.name, type_=one.type) for one in (*key, table.c[column])]
    others = [one for one in table.columns if one.name not in {column, *(part.name for part in key)}]
    build = pg.insert if dialect == "postgresql" else lite.insert
    row = select(*given, *(literal_column("0") for _ in others)).where(exists().where(parent == given[0]))
    statement = build(table).from_select([*key, table.c[column], *others], row)
    added = table.c[column] + statement.excluded[column]
    return statement.on_conflict_do_update(index_elements=key, set_={column: added})


def execute_many(conn: Connection, statement: Update | Insert, rows: Sequence[Mapping[str, Any]]) -> None:
    """
    Run a statement once per row, for frequent activity records: thousands a second, with only text, integers and aware times as values.

    On SQLite this bypasses SQLAlchemy, whose work per row takes longer than the database itself.
    """
    if conn.dialect.name != "sqlite":
        conn.execute(statement, rows)
        return
    compiled = statement.compile(dialect=conn.dialect)
    names = cast("list[str]", compiled.positiontup)
    conn.exec_driver_sql(str(compiled), [tuple(_plain(row[name]) for name in names) for row in rows])


def _plain(value: str | int | datetime) -> str | int:
    """Return a value as SQLAlchemy stores it in SQLite: a time in UTC, without its zone."""
    if isinstance(value, str | int):
        return value
    return value.astimezone(UTC).replace(tzinfo=None).isoformat(" ", "microseconds")


def seconds_since_1970(conn: Connection, time: ColumnElement[datetime]) -> ColumnElement[int]:
    """Return the whole seconds of a time since 1970 as an integer, so that dividing it is integer division."""
    if conn.dialect.name == "sqlite":
        return cast_to(func.strftime("%s", time, type_=String()), BigInteger)
    return cast_to(func.floor(func.extract("epoch", time)), BigInteger)
