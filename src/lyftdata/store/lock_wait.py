"""Waits for the lock that a Server takes to write, as a Server would, and gives it back: whether anyone keeps it."""

from sqlalchemy import URL, Connection
from sqlalchemy.exc import DBAPIError

from lyftdata.store.dialects import dialect
from lyftdata.store.errors import StoreError, is_lock_timeout, problem_of
from lyftdata.store.writer import lock_holders


def find_stuck_lock(url: str | URL, *, within_s: float) -> str | None:
    """
    Return who holds the lock for writing, if it is not free within some seconds; nothing is changed.

    Args:
        url: SQLAlchemy URL of a database that is there.
        within_s: Seconds; a Server's own writes take less than one.

    Returns:
        None if the lock could be taken. Else what shows of its holders; empty if nothing does.

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
