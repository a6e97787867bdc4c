"""The Server's persistent state: `Store` opens it, and one module for each noun reads and changes it."""

from lyftdata.store.engine import Store
from lyftdata.store.errors import StoreError, UnstorableError
from lyftdata.store.writer.transaction import WriteTx

__all__ = ["Store", "StoreError", "UnstorableError", "WriteTx"]
