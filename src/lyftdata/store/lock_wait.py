"""Waits for the writer lock as a Server would, and releases it: finds out whether anyone holds it for too long."""

from sqlalchemy import URL, Connection
from sqlalchemy.exc import DBAPIError

from lyftdata.store.dialects import dialect
from lyftdata.store.errors import StoreError, is_lock_timeout, problem_of
from lyftdata.store.writer import lock_holders


def find_stuck_lock(url: str | URL, *, within_s: float) -> str | None:
    """
    Return who holds the writer lock, if it is not free within some seconds; nothing is changed.

    Args:
        url: SQLAlchemy URL of an existing database.
        within_s: Seconds; a Server's own writes take less than one.

    Returns:
        None if the lock could be taken. Otherwise a description of its holders; empty if they cannot be seen.

    Raises:
        StoreError: The database cannot be used for another reason.
    """
    engine = dialect.make_engine(url)
    try:
        with engine.connect() as conn:
            try:
                dialect.try_to_lock_out_other_writers(conn, within_s=within_s)
            except DBAPIError as error:
                if is_lock_timeout(error):
                    return _holders(conn)
                raise
            finally:
                conn.rollback()
    except DBAPIError as error:
        raise StoreError(f"The database failed: {problem_of(error)}.") from error
    finally:
        engine.dispose()
    return None


def _holders(conn: Connection) -> str:
    conn.rollback()
    with dialect.for_reading(conn.engine).connect() as reading:
        return lock_holders.describe(lock_holders.find(reading))
