"""Logs when changes cannot be written to the database, which session or program holds the lock, and when writing works again."""

import time
from collections.abc import Callable

import msgspec

from lyftdata.core.log_events.server import WRITE_LOCK_WAIT, WRITES_RESUMED, WRITES_UNAVAILABLE
from lyftdata.failure_log import FailureLog
from lyftdata.log import emit, get_logger
from lyftdata.store import Store, StoreError
from lyftdata.store.writer import lock_holders
from lyftdata.store.writer.lock_holders import LockHolder

_log = get_logger(__name__)

# Servers take turns, and a large batch takes a moment: neither is worth a line.
_LONG_WAIT_S = 3.0
_AGAIN_AFTER_S = 60.0


class WriterWatch:
    """
    Watches the writer; checked once a second.

    Args:
        store: Its writer is watched.
        monotonic: Seconds on a monotonic clock.
    """

    def __init__(self, store: Store, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._store = store
        self._monotonic = monotonic
        self._logged_at_s: float | None = None
        self._failures = FailureLog(_log, WRITES_UNAVAILABLE, monotonic=monotonic)
        self._stopped_at_s: float | None = None

    async def check(self) -> None:
        """Log when the writer stops working, every minute while that lasts, and when it works again."""
        health = self._store.writer_health
        is_writing, is_waiting = health.is_writing(), health.waited_s() > _LONG_WAIT_S
        if is_waiting:
            await self._log_wait(health.waited_s())
        if not is_writing:
            self._log_outage(health.problem or "The database does not answer the writer.")
        is_logged = self._logged_at_s is not None or self._stopped_at_s is not None
        if is_logged and is_writing and not is_waiting and health.problem is None:
            self._log_end()

    def _log_outage(self, problem: str) -> None:
        now_s = self._monotonic()
        if self._stopped_at_s is None:
            self._stopped_at_s = now_s
        self._failures.failed(problem=problem, for_s=round(now_s - self._stopped_at_s))

    def _log_end(self) -> None:
        stopped_at_s = self._stopped_at_s
        after_s = None if stopped_at_s is None else round(self._monotonic() - stopped_at_s)
        emit(_log, WRITES_RESUMED, after_s=after_s)
        self._logged_at_s = self._stopped_at_s = None
        self._failures.succeeded()

    async def _log_wait(self, waited_s: float) -> None:
        now_s = self._monotonic()
        if self._logged_at_s is not None and now_s - self._logged_at_s < _AGAIN_AFTER_S:
            return
        self._logged_at_s = now_s
        holders = [msgspec.structs.asdict(holder) for holder in await self._holders()]
        emit(_log, WRITE_LOCK_WAIT, waited_s=round(waited_s, 1), holders=holders)

    async def _holders(self) -> list[LockHolder]:
        try:
            return await self._store.read(lock_holders.find)
        except StoreError:
            # The wait is worth a line in any case.
            return []
