"""Tells the log when changes do not get into the database, who holds the lock, and when it is over."""

import time
from collections.abc import Callable

import msgspec

from lyftdata.log import get_logger
from lyftdata.store import Store, StoreError, lock_holders
from lyftdata.store.lock_holders import LockHolder

_log = get_logger(__name__)

# Servers take turns, and a large group takes a moment: neither is worth a line.
_LONG_WAIT_S = 3.0
_AGAIN_AFTER_S = 60.0


class WriterWatch:
    """
    Looks at the writer once a second.

    Args:
        store: Whose writer.
        monotonic: Seconds on a clock that nobody sets.
    """

    def __init__(self, store: Store, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._store = store
        self._monotonic = monotonic
        self._logged_at_s: float | None = None
        self._was_writing = True

    async def look(self) -> None:
        """Log what is new."""
        health = self._store.writer_health
        is_writing, is_waiting = health.is_writing(), health.waited_s() > _LONG_WAIT_S
        if is_waiting:
            await self._log_wait(health.waited_s())
        if self._was_writing and not is_writing:
            _log.error(
                "writes_unavailable", problem=health.problem or "The database does not answer the writer."
            )
        is_told = self._logged_at_s is not None or not self._was_writing
        if is_told and is_writing and not is_waiting and health.problem is None:
            _log.info("writes_resumed")
            self._logged_at_s = None
        self._was_writing = is_writing

    async def _log_wait(self, waited_s: float) -> None:
        now_s = self._monotonic()
        if self._logged_at_s is not None and now_s - self._logged_at_s < _AGAIN_AFTER_S:
            return
        self._logged_at_s = now_s
        holders = [msgspec.structs.asdict(holder) for holder in await self._holders()]
        _log.warning("write_lock_wait", waited_s=round(waited_s, 1), holders=holders)

    async def _holders(self) -> list[LockHolder]:
        try:
            return await self._store.read(lock_holders.find)
        except StoreError:
            # The wait is worth a line in any case.
            return []
