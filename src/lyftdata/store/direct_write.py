"""
Writes one change to the database from its host, without a Server, whether or not Servers are running.

Servers hold in memory only what admission needs, and find the end of the audit log in the database with each group
they write. So a change may come from here if it touches nothing that they hold, takes its turn like theirs, and goes
on with the audit chain where it ends.
"""

from collections.abc import Callable
from typing import TypeVar

from sqlalchemy import URL, Connection
from sqlalchemy.exc import DBAPIError

from lyftdata.store import audit_log, migrate
from lyftdata.store.dialects import dialect
from lyftdata.store.errors import StoreError, problem_of
from lyftdata.store.writer.transaction import WriteTx

T = TypeVar("T")


def write_directly(url: str | URL, op: Callable[[WriteTx], T], *, audit_key: bytes) -> T:
    """
    Run one operation in a transaction of its own; durable when this returns.

    Args:
        url: SQLAlchemy URL of a database that is there.
        op: Makes the change and its audit event. What it changes must not be held in memory by Servers: it is not published.
        audit_key: Keys the audit chain.

    Raises:
        StoreError: The database cannot be used, is of another version, or its audit log does not fit the key.
        Whatever `op` raises: then nothing was changed.
    """
    engine = dialect.make_engine(url)
    try:
        dialect.check_file_permissions(engine)
        with engine.begin() as conn:
            check_version(migrate.current_version(conn))
            dialect.lock_out_other_writers(conn)
            before = audit_log.load_head(conn, key=audit_key)
            if not before.sound and not audit_log.is_marked_unsound(conn):
                # With another key the event would break the chain of a log that is intact.
                raise StoreError(
                    "The end of the audit log does not fit the secret key; nothing was changed.",
                    hint="Give the Server's own secret key: LYFTDATA_SECRET_KEY, or secret.key in the data directory.",
                )
            tx = WriteTx(conn, head=before, audit_key=audit_key)
            result = op(tx)
            audit_log.append(conn, tx.events)
            if tx.head != before:
                audit_log.write_head(conn, tx.head, key=audit_key)
            return result
    except DBAPIError as error:
        raise StoreError(f"The database failed: {problem_of(error)}.", hint="Nothing was changed.") from error
    finally:
        engine.dispose()


def read_directly(url: str | URL, op: Callable[[Connection], T]) -> T:
    """
    Run a reading operation, whether or not Servers are running.

    Raises:
        StoreError: The database cannot be used, or is of another version.
    """
    engine = dialect.make_engine(url)
    try:
        dialect.check_file_permissions(engine)
        with dialect.for_reading(engine).connect() as conn:
            check_version(migrate.current_version(conn))
            return op(conn)
    except DBAPIError as error:
        raise StoreError(f"The database failed: {problem_of(error)}.") from error
    finally:
        engine.dispose()


def check_version(schema: str | None) -> None:
    """Check that a database has the schema of this program; raises StoreError."""
    # Not brought up to date here: a Server of the version that is installed may be running on it.
    if schema != migrate.newest_version():
        raise StoreError(
            f"The database is of another version of lyftdata (schema {schema}, and this program has "
            f"{migrate.newest_version()}); nothing was changed.",
            hint="Use the program that the Server runs. After an upgrade start the Server once.",
        )
