"""
Learns how long a poll may be held before something between Worker and Server cuts it.

Proxies, firewalls and NAT close idle connections, some of them before a held poll is answered. If every poll were cut, a Worker
would alternate between offline and online. So it asks for shorter holds once polls were cut again and again after the same time.

A proxy that reaches no Server also gives up after the same time, again and again. So after two such cuts the Worker asks for a hold
that no timeout cuts: if the Server answers, and the next poll is cut as before, the cause is a timeout and not an outage.
"""

from collections.abc import Callable

from lyftdata.core.log_events.worker import POLLS_CUT
from lyftdata.log import emit, get_logger

_log = get_logger(__name__)

# An idle timeout is longer than that.
_MIN_CUT_S = 2.0
# No idle timeout is shorter than that.
_CHECK_HOLD_S = 1.0
_CHECKED_AFTER_CUTS = 2
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
        self._cuts_s: list[float] = []
        """After how long the last polls were cut, as long as it was the same time."""
        self._is_checking = False
        """Whether the next poll shows if the Server can be reached."""
        self._limit_s: float | None = None
        self._learned_at_s = 0.0

    @property
    def seconds(self) -> float | None:
        """Return for how many seconds the next poll may be held at most; None if no limit is known."""
        if self._limit_s is not None and self._monotonic() - self._learned_at_s > _FORGET_AFTER_S:
            self._limit_s = None
        return _CHECK_HOLD_S if self._is_checking else self._limit_s

    def note_answer(self, held_s: float) -> None:
        """Record that a poll was answered after `held_s` seconds: a cut after less time was not a timeout."""
        if self._cuts_s and held_s > self._cuts_s[-1]:
            self._cuts_s.clear()
        self._is_checking = False

    def note_failure(self, held_s: float, *, was_cut: bool) -> None:
        """
        Record that a poll was not answered.

        Args:
            held_s: For how many seconds.
            was_cut: Whether the connection was cut, or a proxy gave up, while waiting for the answer.
        """
        if self._is_checking or not was_cut or held_s < _MIN_CUT_S:
            # The Server cannot be reached, and the cuts before say nothing about a timeout.
            self._is_checking = False
            self._cuts_s.clear()
            return
        if self._cuts_s and not _are_same(self._cuts_s[-1], held_s):
            self._cuts_s.clear()
        self._cuts_s.append(held_s)
        if len(self._cuts_s) == _CHECKED_AFTER_CUTS:
            self._is_checking = True
        elif len(self._cuts_s) > _CHECKED_AFTER_CUTS:
            self._learn()

    def _learn(self) -> None:
        cut_s = self._cuts_s[-1]
        self._limit_s = max(1.0, _MARGIN * min(self._cuts_s))
        self._learned_at_s = self._monotonic()
        self._cuts_s.clear()
        emit(
            _log,
            POLLS_CUT,
            cut_after_s=round(cut_s, 1),
            hold_s=round(self._limit_s, 1),
        )


def _are_same(before_s: float, cut_s: float) -> bool:
    return abs(before_s - cut_s) <= max(_SAME_WITHIN_S, _SAME_WITHIN * before_s)
