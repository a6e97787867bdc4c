"""
Finds what a PostgreSQL database allows to roles other than the Servers' own, and reports it at startup.

Whether `pg_hba.conf` keeps those roles out cannot be seen from here.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from sqlalchemy import Connection
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from lyftdata.core.text import clean_text
from lyftdata.store.dialects import dialect
from lyftdata.store.errors import StoreError, problem_of, remedy_of
from lyftdata.store.schema import metadata

T = TypeVar("T")

_SETTING = "LYFTDATA_DATABASE_URL"

# Rights of PUBLIC, that is, of every role.
_IN_DATABASE = """
SELECT current_database(), current_schema(),
       has_database_privilege('public', current_database(), 'CONNECT'),
       coalesce(has_schema_privilege('public', current_schema(), 'CREATE'), false)
"""
_ON_TABLES = """
SELECT relname, pg_get_userbyid(relowner), pg_has_role(relowner, 'USAGE'),
       has_table_privilege('public', pg_class.oid, 'SELECT, INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER')
FROM pg_class JOIN unnest(%(names)s::text[]) AS name ON pg_class.oid = to_regclass(name)
ORDER BY relname
"""


def find(conn: Connection) -> list[str]:
    """Return what is open to other roles, one sentence each with the statement that closes it; nothing for SQLite."""
    if not dialect.is_shared(conn.engine):
        return []
    return [f"{_SETTING}: {problem}" for problem in (*_of_database(conn), *_of_tables(conn))]


def ask(url: str | URL) -> list[str]:
    """Do the same on a connection of its own; raises StoreError if the database does not answer."""
    return ask_postgresql(url, find)


def ask_postgresql(url: str | URL, question: Callable[[Connection], list[T]]) -> list[T]:
    """
    Return the result of a query function on a connection of its own; nothing for SQLite.

    Raises:
        StoreError: The database cannot be reached, or does not answer.
    """
    try:
        engine = dialect.make_engine(url)
        if not dialect.is_shared(engine):
            return []
        try:
            with dialect.for_reading(engine).connect() as conn:
                return question(conn)
        finally:
            engine.dispose()
    except (SQLAlchemyError, StoreError) as error:
        reason = problem_of(error) if isinstance(error, DBAPIError) else str(error)
        problem = clean_text(" ".join(reason.split()), 300)
        raise StoreError(
            f"{_SETTING}: the database cannot be used: {problem}",
            hint=remedy_of(error),
        ) from error


def _of_database(conn: Connection) -> Iterator[str]:
    database, schema, may_connect, may_create = conn.exec_driver_sql(_IN_DATABASE).one()
    quote = conn.dialect.identifier_preparer.quote
    if may_connect:
        yield (
            "every role of this PostgreSQL server may connect to the database. Keep the others out: "
            f"REVOKE ALL ON DATABASE {quote(database)} FROM PUBLIC"
        )
    if may_create:
        yield (
            f"every role that can connect may make tables and functions in the schema {schema}, and PostgreSQL may take "
            f"them for the Servers' own. Forbid it: REVOKE CREATE ON SCHEMA {quote(schema)} FROM PUBLIC"
        )


def _of_tables(conn: Connection) -> Iterator[str]:
    rows = conn.exec_driver_sql(_ON_TABLES, {"names": list(metadata.tables)}).all()
    if public := [name for name, _owner, _is_own, is_public in rows if is_public]:
        yield (
            f"every role that can connect has rights on {_named(public)}. Take them back: "
            "REVOKE ALL ON ALL TABLES IN SCHEMA "
            f"{conn.dialect.identifier_preparer.quote(_schema(conn))} FROM PUBLIC"
        )
    for owner in sorted({owner for _name, owner, is_own, _is_public in rows if not is_own}):
        foreign = [name for name, found, _is_own, _is_public in rows if found == owner]
        yield (
            f"{_named(foreign)} belong to the role {clean_text(owner, 64)}, which can change them at will. If you did not set "
            "that up, someone else created them before the first Server did."
        )


def _schema(conn: Connection) -> str:
    return str(conn.exec_driver_sql("SELECT current_schema()").scalar())


def _named(tables: Sequence[str]) -> str:
    shown = ", ".join(tables[:3])
    return f"the tables {shown}{f' and {len(tables) - 3} more' if len(tables) > 3 else ''}"  # noqa: PLR2004 - as many as are shown
