"""
Detects that requests wait longer than their callers do, and sheds load.

A Server with more requests than it can answer has a hidden queue: each iteration of its event loop takes everything that has arrived
since the last one, and takes as long as that needs. Once it takes longer than Workers wait, every answer goes to a caller that has
already given up and retried, and the Server does not recover. So a request that has waited too long gets 503 with `Retry-After` at
once, which costs a fraction of an answer. Token requests are shed earlier than polls: a connected Worker whose poll is rejected is lost,
and must repeat everything that it took to connect.
"""

import asyncio
from collections.abc import Callable

from lyftdata.core.log_events.server import OVERLOADED
from lyftdata.log import emit, get_logger

_log = get_logger(__name__)

LOOK_EVERY_S = 0.1
NO_TOKENS_AFTER_S = 1.0
NO_POLLS_AFTER_S = 4.0
COME_BACK_AFTER_S = 2
_LOG_EVERY_S = 10.0


class Overload:
    """
    Measures how long an iteration of the event loop has been taking.

    Args:
        monotonic: Seconds of a monotonic clock.
        count: Called for each request that is shed.
    """

    def __init__(self, *, monotonic: Callable[[], float], count: Callable[[], None]) -> None:
        self._monotonic = monotonic
        self._count = count
        self._looked_at_s: float | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._logged_at_s = float("-inf")

    def watch(self) -> None:
        """Check the clock in each iteration of the running event loop; until this is called, no request is shed."""
        self._looked_at_s = self._monotonic()
        self._timer = asyncio.get_running_loop().call_later(LOOK_EVERY_S, self.watch)

    def end(self) -> None:
        """Stop watching."""
        if self._timer is not None:
            self._timer.cancel()
        self._looked_at_s = None

    def should_shed(self, after_s: float) -> bool:
        """Return whether the event loop lags by `after_s` seconds or more, so that the request must be shed; counts and logs it if so."""
        if self._looked_at_s is None:
            return False
        now_s = self._monotonic()
        behind_s = now_s - self._looked_at_s - LOOK_EVERY_S
        if behind_s < after_s:
            return False
        self._count()
        if now_s - self._logged_at_s >= _LOG_EVERY_S:
            self._logged_at_s = now_s
            emit(
                _log,
                OVERLOADED,
                behind_s=round(behind_s, 1),
            )
        return True
