"""
Learns how long a poll may be held before something between Worker and Server cuts it.

Proxies, firewalls and NAT close idle connections, some of them before a held poll is answered. If every poll were cut, a Worker
would alternate between offline and online. So it asks for shorter holds once polls were cut twice after the same time, which does
not happen in an outage or a restart of the Server.
"""

from collections.abc import Callable

from lyftdata.core.log_events.worker import POLLS_CUT
from lyftdata.log import emit, get_logger

_log = get_logger(__name__)

# An idle timeout is longer than that. The timeout with which a proxy connects to one Server after another is shorter, and always the same.
_MIN_CUT_S = 4.5
# A timeout is coarse, and the network takes its time.
_SAME_WITHIN_S, _SAME_WITHIN = 1.0, 0.1
_MARGIN = 0.75
# After this a longer hold is tried again: the host may have moved, the proxy may have been changed.
_FORGET_AFTER_S = 3_600.0


class HoldLimit:
    """
    Learns from polls that were cut.

    Args:
        monotonic: Returns seconds on a clock that does not jump.
    """

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._last_cut_s: float | None = None
        self._limit_s: float | None = None
        self._learned_at_s = 0.0

    @property
    def seconds(self) -> float | None:
        """Return the longest hold time in seconds that connections survive; None while no limit is known."""
        if self._limit_s is not None and self._monotonic() - self._learned_at_s > _FORGET_AFTER_S:
            self._limit_s = None
        return self._limit_s

    def answered_after(self, held_s: float) -> None:
        """Record that a poll was answered after `held_s` seconds: a cut after less time was not a timeout."""
        if self._last_cut_s is not None and held_s > self._last_cut_s:
            self._last_cut_s = None

    def note_cut(self, held_s: float) -> None:
        """Record that a connection was cut after `held_s` seconds without an answer."""
        if held_s < _MIN_CUT_S:
            return
        before_s, self._last_cut_s = self._last_cut_s, held_s
        if before_s is None or abs(before_s - held_s) > max(_SAME_WITHIN_S, _SAME_WITHIN * before_s):
            return
        self._limit_s = max(1.0, _MARGIN * min(before_s, held_s))
        self._learned_at_s = self._monotonic()
        self._last_cut_s = None
        emit(
            _log,
            POLLS_CUT,
            cut_after_s=round(held_s, 1),
            hold_s=round(self._limit_s, 1),
        )
