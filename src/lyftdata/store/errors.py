"""Errors of the database itself."""

from sqlalchemy.exc import DBAPIError

from lyftdata.core.errors import LyftdataError


class StoreError(LyftdataError):
    """The database cannot be used: unreachable, not a lyftdata database, full, or newer than this program."""

    code = "store_failed"


class UnstorableError(StoreError):
    """A value that no column accepts: too large, too long, not text. Retrying does not help."""

    code = "invalid_input"


def problem_of(error: DBAPIError) -> str:
    """
    Return a database's error message in a form that may be logged.

    PostgreSQL's details are left out: for a row that violates a constraint they include all of its values, also password hashes.
    """
    primary: str | None = getattr(getattr(error.orig, "diag", None), "message_primary", None)
    return primary or str(error.orig)


def is_lock_timeout(error: DBAPIError) -> bool:
    """Return whether a statement failed because another session or program held a lock for too long."""
    # PostgreSQL's lock_not_available, and SQLite's message.
    return getattr(error.orig, "sqlstate", None) == "55P03" or "database is locked" in str(error.orig)


class DatabaseInUseError(StoreError):
    """Another Server is using this SQLite database; only one may."""

    code = "database_in_use"
