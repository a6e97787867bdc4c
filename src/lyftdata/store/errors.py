"""Errors of the database itself."""

from sqlalchemy.exc import DBAPIError

from lyftdata.core.errors import LyftdataError

_MORE_CONNECTIONS = (
    "Allow more connections: max_connections of PostgreSQL, or the limit of the role, the database or the pooler; or run fewer "
    "processes. While there are enough, `lyftdata doctor server` says how many are needed."
)
_NO_FREE_CONNECTION = (
    "too many clients already",
    "remaining connection slots are reserved",
    "too many connections for role",
    "too many connections for database",
    # PgBouncer's
    "no more connections allowed",
)


class StoreError(LyftdataError):
    """The database cannot be used: unreachable, not a lyftdata database, full, or newer than this program."""

    code = "store_failed"


class UnstorableError(StoreError):
    """A value that no column accepts: too large, too long, not text. Retrying does not help."""

    code = "invalid_input"


def remedy_of(error: BaseException) -> str:
    """Return what to do if PostgreSQL, or a pooler, refused a connection since there are too many; empty for other errors."""
    return _MORE_CONNECTIONS if _has_no_free_connection(error) else ""


def _has_no_free_connection(error: BaseException) -> bool:
    # By its words: libpq gives no SQLSTATE before a connection is open. A PostgreSQL that speaks another language is not recognised.
    return any(words in str(error) for words in _NO_FREE_CONNECTION)


def problem_of(error: DBAPIError) -> str:
    """
    Return a database's error message in a form that may be logged.

    PostgreSQL's details are left out: for a row that violates a constraint they include all of its values, also password hashes.
    """
    primary: str | None = getattr(getattr(error.orig, "diag", None), "message_primary", None)
    problem = primary or str(error.orig)
    return f"it has no free connection: {problem}" if _has_no_free_connection(error) else problem


def is_lock_timeout(error: DBAPIError) -> bool:
    """Return whether a statement failed because another session or program held a lock for too long."""
    # PostgreSQL's lock_not_available, and SQLite's message.
    return getattr(error.orig, "sqlstate", None) == "55P03" or "database is locked" in str(error.orig)


class DatabaseInUseError(StoreError):
    """Another Server is using this SQLite database; only one may."""

    code = "database_in_use"
