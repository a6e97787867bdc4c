"""
Spreads the deadlines of held polls, so that not too many end in the same second.

The hold time bounds the mean rate of polls, but not each second's: a Worker that connected while the fleet was smaller is held longer
from then on, in step with those that connected at the same time. The Workers of a Server that was killed arrive at another one within
two seconds, in addition to its own.
"""

from collections import Counter

# A little more than the mean, so that there is nearly always room within the hold time.
MAX_IN_A_SECOND = 160
_MIN_S = 1


class PollDeadlines:
    """Counts the held polls that end in each second from now on."""

    def __init__(self) -> None:
        self._ends: Counter[int] = Counter()

    def take(self, now_s: float, hold_s: float) -> tuple[int, float]:
        """
        Return when a poll ends: `hold_s` seconds from now, or in the latest earlier second that is not full.

        If all are full, there are more Workers than the limit allows for, and the result is `hold_s`.

        Args:
            now_s: Seconds of a monotonic clock.
            hold_s: How many seconds it may be held at most.

        Returns:
            The second, which must be released when the poll ends, and the number of seconds until then.
        """
        last = second = int(now_s + hold_s)
        while second > now_s + _MIN_S and self._ends[second] >= MAX_IN_A_SECOND:
            second -= 1
        if second <= now_s + _MIN_S:
            second = last
        self._ends[second] += 1
        return second, hold_s - (last - second)

    def release(self, second: int) -> None:
        """Record the end of a poll for which `take` had returned this second."""
        self._ends[second] -= 1
        if not self._ends[second]:
            del self._ends[second]
