"""
Spreads the deadlines of held polls, so that not too many end in the same second.

How long polls are held keeps the mean of their rate down, not each second of it: a Worker that came while the fleet was smaller
is held for longer from then on, in step with those that came at the same time. Those of a Server that was killed come to one that
lives within two seconds, between the ends of its own.
"""

from collections import Counter

# A little more than the mean, so that there is nearly always room within the time that a poll is held.
MAX_IN_A_SECOND = 160
_MIN_S = 1


class PollDeadlines:
    """How many held polls end in each second from now on."""

    def __init__(self) -> None:
        self._ends: Counter[int] = Counter()

    def take(self, now_s: float, hold_s: float) -> tuple[int, float]:
        """
        Return when a poll ends: `hold_s` seconds from now, or in the latest second before that which is not full.

        Where none has any, there are more Workers than the ceiling is for, and it stays at `hold_s`.

        Args:
            now_s: Seconds on any clock that does not run backwards.
            hold_s: For how many seconds it may be held.

        Returns:
            The second, which is to be given back at the poll's end, and after how many seconds that is.
        """
        last = second = int(now_s + hold_s)
        while second > now_s + _MIN_S and self._ends[second] >= MAX_IN_A_SECOND:
            second -= 1
        if second <= now_s + _MIN_S:
            second = last
        self._ends[second] += 1
        return second, hold_s - (last - second)

    def release(self, second: int) -> None:
        """Note that a poll is over that was to end in this second."""
        self._ends[second] -= 1
        if not self._ends[second]:
            del self._ends[second]
