"""
Copies the whole state from SQLite to PostgreSQL.

1. No Server may use the SQLite file meanwhile. It is only read: the work is done on a copy, after upgrading its schema.
2. The PostgreSQL database must be empty. Everything that follows is one transaction there.
3. The tables are created, and every row is copied, counted and hashed as it is read.
4. The result is read again, counted and hashed table by table, and the audit chain is verified link by link.
5. If all of it matches, it is committed; otherwise the database stays empty.
"""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec
from sqlalchemy import (
    JSON,
    URL,
    Column,
    Connection,
    Table,
    Text,
    bindparam,
    cast,
    func,
    insert,
    inspect,
    select,
)
from sqlalchemy.exc import DBAPIError

from lyftdata.core.audit import ChainReport
from lyftdata.core.progress import OnProgress, ignore_progress
from lyftdata.store import audit_tree, backup, migrate
from lyftdata.store.dialects import dialect, postgresql, sqlite
from lyftdata.store.errors import StoreError, problem_of
from lyftdata.store.schema import metadata, schema_floor, writer_lock

_AT_ONCE = 1_000


class Content(msgspec.Struct, frozen=True):
    """The content of a table: the number of rows, and a digest of all of them that does not depend on their order."""

    rows: int
    sha256: str


class Transferred(msgspec.Struct, frozen=True, kw_only=True):
    """What was copied and verified to be equal on both sides, by table."""

    schema: str
    tables: dict[str, Content]
    audit: ChainReport


def transfer(
    source: Path, target: str, *, audit_key: bytes, on_progress: OnProgress = ignore_progress
) -> Transferred:
    """
    Copy the state of a stopped Server to PostgreSQL, and verify that it is the same there.

    Args:
        source: The SQLite file; it is not changed.
        target: SQLAlchemy URL of an empty PostgreSQL database.
        audit_key: Keys the audit chain.
        on_progress: Called with the progress; if it raises, the target stays empty.

    Raises:
        StoreError: A Server is using the source, the target is not empty or fails, or the result differs; then nothing
         was changed.
    """
    backup.check_not_empty(source)
    engine = dialect.make_engine(target)
    try:
        if not dialect.is_shared(engine):
            raise StoreError("The state can only be moved to PostgreSQL, but the database URL is for SQLite.")
        with (
            backup.locked(source),
            _up_to_date_copy(source) as (conn, schema),
            dialect.migrating(engine) as to,
        ):
            postgresql.allow_long_write(to)
            _check_empty(to)
            migrate.upgrade(to)
            counting = _Counting("Copying", _count_rows(conn), on_progress)
            tables = {table.name: _move(table, conn, to, counting) for table in metadata.sorted_tables}
            report = _verify(to, tables, audit_key, on_progress)
    except DBAPIError as error:
        raise StoreError(f"The database failed: {problem_of(error)}.", hint="Nothing was changed.") from error
    finally:
        engine.dispose()
    return Transferred(schema=schema, tables=tables, audit=report)


@contextlib.contextmanager
def _up_to_date_copy(source: Path) -> Iterator[tuple[Connection, str]]:
    """Yield a connection to a copy of a database, upgraded to this program's schema, and the version of that schema."""
    with backup.draft_file(source) as draft:
        backup.copy(source, draft)
        engine = sqlite.make_engine(URL.create("sqlite", database=str(draft)))
        try:
            with dialect.migrating(engine) as conn:
                migrate.check_known(conn)
                migrate.upgrade(conn)
                schema = str(migrate.current_version(conn))
            if schema != migrate.newest_version():
                # This program can work with it, but does not know the rest of its content.
                raise StoreError(
                    f"The database is of a newer version of lyftdata (schema {schema}): move it with that version."
                )
            with dialect.for_reading(engine).connect() as conn:
                yield conn, schema
        finally:
            engine.dispose()


def _check_empty(conn: Connection) -> None:
    found = inspect(conn)
    # Created by this very transaction, to keep Servers off meanwhile.
    tables = set(found.get_table_names()) - {writer_lock.name}
    if tables or found.get_view_names():
        raise StoreError(
            "The PostgreSQL database is not empty.",
            hint="Give LYFTDATA_DATABASE_URL of a new one. If this command was run before and its end was not seen: "
            "start a Server on that database, and ask `lyftdata audit verify`.",
        )


class _Counting:
    """Reports progress, in rows of all tables."""

    def __init__(self, stage: str, total: int, on_progress: OnProgress) -> None:
        self._stage, self._total, self._on_progress = stage, total, on_progress
        self._done = 0

    def add(self, rows: int) -> None:
        """Report more rows."""
        self._done += rows
        self._on_progress(self._stage, self._done, self._total)


def _count_rows(conn: Connection) -> int:
    tables = metadata.sorted_tables
    return sum(conn.execute(select(func.count()).select_from(table)).scalar_one() for table in tables)


def _move(table: Table, source: Connection, target: Connection, counting: _Counting) -> Content:
    """Copy a table; return a digest of what was read."""
    names = [_name(column) for column in table.columns]
    statement = insert(table).values({column.name: _given(column) for column in table.columns})
    content = _Adding()
    for rows in _read(table, source):
        content.add(rows)
        # What the schema says about itself was written when it was created.
        if table is not schema_floor:
            target.execute(statement, [dict(zip(names, row, strict=True)) for row in rows])
        counting.add(len(rows))
    _advance_sequence(table, target)
    return content.total()


def _verify(
    target: Connection, tables: Mapping[str, Content], audit_key: bytes, on_progress: OnProgress
) -> ChainReport:
    counting = _Counting("Comparing", sum(content.rows for content in tables.values()), on_progress)
    for table in metadata.sorted_tables:
        arrived = _content(table, target, counting)
        if arrived != tables[table.name]:
            raise StoreError(
                f"The content of {table.name} differs from what was read: {arrived.rows} of {tables[table.name].rows} rows.",
                hint="Nothing was changed.",
            )
    report = audit_tree.verify(target, key=audit_key, on_progress=on_progress)
    if not report.ok:
        raise StoreError(
            f"The audit log does not fit the secret key. {report.problem}",
            hint="Nothing was changed. Give the secret key of the Server whose database it is: LYFTDATA_SECRET_KEY, or "
            "secret.key in the data directory.",
        )
    return report


def _content(table: Table, conn: Connection, counting: _Counting) -> Content:
    content = _Adding()
    for rows in _read(table, conn):
        content.add(rows)
        counting.add(len(rows))
    return content.total()


class _Adding:
    """Adds up the digests of rows, modulo 2^256: the two databases sort text differently, so the result must not depend on the order."""

    def __init__(self) -> None:
        self._rows = 0
        self._sum = 0

    def add(self, rows: Sequence[Sequence[Any]]) -> None:
        """Add rows."""
        self._rows += len(rows)
        for row in rows:
            # Times with their zone, bytes in base64, NULL distinct from any text: different values are encoded differently.
            digest = sha256(msgspec.json.encode(tuple(row))).digest()
            self._sum = (self._sum + int.from_bytes(digest, "big")) % 2**256

    def total(self) -> Content:
        """Return the digest of the rows added so far."""
        return Content(self._rows, self._sum.to_bytes(32, "big").hex())


def _read(table: Table, conn: Connection) -> Iterator[Sequence[Sequence[Any]]]:
    """Yield a table in batches: it may be larger than memory."""
    query = select(*(_taken(column) for column in table.columns))
    with conn.execute(query.execution_options(yield_per=_AT_ONCE)) as rows:
        yield from rows.partitions()


def _taken(column: Column[Any]) -> Any:
    # JSON as text: parsed, a NULL and the JSON null would become the same.
    return cast(column, Text) if isinstance(column.type, JSON) else column


def _given(column: Column[Any]) -> Any:
    if isinstance(column.type, JSON):
        return cast(bindparam(_name(column), type_=Text), JSON)
    return bindparam(_name(column), type_=column.type)


def _name(column: Column[Any]) -> str:
    # Not the column's own name, which SQLAlchemy reserves for its own values.
    return f"given_{column.name}"


def _advance_sequence(table: Table, target: Connection) -> None:
    """Advance the table's sequence past the copied rows."""
    numbered = table.autoincrement_column
    if numbered is None:
        return
    last = select(func.max(numbered)).scalar_subquery()
    sequence = func.pg_get_serial_sequence(table.name, numbered.name)
    target.execute(select(func.setval(sequence, last)).where(last.is_not(None)))
