"""
Detects that requests wait for longer than makes sense, and sheds load.

A Server that is asked for more than it can answer has a queue that does not show: each turn of its event loop takes all that
has come meanwhile, and takes as long as that needs. Once it takes longer than Workers wait, every answer is for a caller that
has given up and asked again, and the Server does not recover. So a request that is far behind in such a turn gets 503 with
`Retry-After` at once, which costs a part of an answer. A token request gets it sooner than a poll: a connected
Worker that is rejected is lost, and must repeat all that it took to connect.
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
    How long the event loop's turn has been taking.

    Args:
        monotonic: Seconds from some fixed moment.
        count: Called for each request that is rejected.
    """

    def __init__(self, *, monotonic: Callable[[], float], count: Callable[[], None]) -> None:
        self._monotonic = monotonic
        self._count = count
        self._looked_at_s: float | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._logged_at_s = float("-inf")

    def watch(self) -> None:
        """Look at the clock in each turn of the running event loop; until then no request is rejected."""
        self._looked_at_s = self._monotonic()
        self._timer = asyncio.get_running_loop().call_later(LOOK_EVERY_S, self.watch)

    def end(self) -> None:
        """Look no longer."""
        if self._timer is not None:
            self._timer.cancel()
        self._looked_at_s = None

    def should_shed(self, after_s: float) -> bool:
        """Return whether the event loop lags by `after_s` seconds or more, so that a request is to be shed; counts it if so."""
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
