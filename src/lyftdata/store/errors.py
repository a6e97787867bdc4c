"""Errors of the database itself."""

from sqlalchemy.exc import DBAPIError

from lyftdata.core.errors import LyftdataError


class StoreError(LyftdataError):
    """The database cannot be used: unreachable, not ours, full, or newer than this program."""

    code = "store_failed"


class UnstorableError(StoreError):
    """A value that no column takes: too large, too long, not text. Asking again later changes nothing."""

    code = "invalid_input"


def problem_of(error: DBAPIError) -> str:
    """
    Return what a database says of a failure, fit for a log.

    Without PostgreSQL's details: those of a row that breaks a rule are all of its values, password hashes too.
    """
    primary: str | None = getattr(getattr(error.orig, "diag", None), "message_primary", None)
    return primary or str(error.orig)


def is_lock_timeout(error: DBAPIError) -> bool:
    """Return whether a database failed because another session or program held a lock for too long."""
    # PostgreSQL's lock_not_available, and what SQLite says.
    return getattr(error.orig, "sqlstate", None) == "55P03" or "database is locked" in str(error.orig)


class DatabaseInUseError(StoreError):
    """A Server has an SQLite database to itself, and it is not this one."""

    code = "database_in_use"
