"""What can go wrong with the database itself."""

from lyftdata.core.errors import LyftdataError


class StoreError(LyftdataError):
    """The database cannot be used: unreachable, not ours, full, or newer than this program."""

    code = "store_failed"
