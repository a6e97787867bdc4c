"""
Writes one change to the database from its host, without a Server, whether or not Servers are running.

Servers keep in memory only what admission needs, and re-read the end of the audit log from the database with each batch they
write. So this may write a change if it touches nothing that they keep in memory, takes the writer lock as they do, and
continues the audit chain where it ends.
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
        url: SQLAlchemy URL of an existing database.
        op: Makes the change and its audit event. It must not change anything that Servers keep in memory: nothing is published.
        audit_key: Keys the audit chain.

    Raises:
        StoreError: The database cannot be used, has another version, or its audit log does not fit the key.
        Exceptions of `op`: then nothing was changed.
    """
    engine = dialect.make_engine(url)
    try:
        dialect.check_file_permissions(engine)
        with engine.begin() as conn:
            check_version(migrate.current_version(conn))
            dialect.lock_out_other_writers(conn)
            before = audit_log.load_head(conn, key=audit_key)
            if not before.sound and not audit_log.is_marked_unsound(conn):
                # With the wrong key, the event would break the chain of an intact log.
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
        StoreError: The database cannot be used, or has another version.
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
    """Check that a database has this program's schema version; raises StoreError."""
    # Not upgraded here: a Server of the installed version may be using it.
    if schema != migrate.newest_version():
        raise StoreError(
            f"The database is of another version of lyftdata (schema {schema}, and this program has "
            f"{migrate.newest_version()}); nothing was changed.",
            hint="Use the program that the Server runs. After an upgrade start the Server once.",
        )
