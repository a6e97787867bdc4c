"""What can go wrong with the database itself."""

from lyftdata.core.errors import LyftdataError


class StoreError(LyftdataError):
    """The database cannot be used: unreachable, not ours, full, or newer than this program."""

    code = "store_failed"


class DatabaseInUseError(StoreError):
    """A Server has an SQLite database to itself, and it is not this one."""

    code = "database_in_use"
