"""Where the state is kept: `Store` opens it, one module a noun reads and changes it."""

from lyftdata.store.engine import Store, WriteTx
from lyftdata.store.errors import StoreError

__all__ = ["Store", "StoreError", "WriteTx"]
