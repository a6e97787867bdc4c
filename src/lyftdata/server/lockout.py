"""
Slows down guessing of operators' passwords, without letting a stranger lock an operator out for good.

Failures are counted per name and address; after five the pair waits, a minute at first and twice as long each
time, up to a quarter of an hour. Per name alone the bound is wider: guesses from many addresses at once.
"""

from collections import OrderedDict
from datetime import datetime, timedelta

_MOST_REMEMBERED = 10_000
_FIRST_WAIT = timedelta(minutes=1)
_LONGEST_WAIT = timedelta(minutes=15)


class _Count:
    __slots__ = ("failures", "locked_until")

    def __init__(self) -> None:
        self.failures = 0
        self.locked_until: datetime | None = None


class Lockout:
    """Counts failed sign-ins in memory; pure, with the time passed in."""

    def __init__(self, *, per_pair: int = 5, per_name: int = 50) -> None:
        self._per_pair = per_pair
        self._per_name = per_name
        self._counts: OrderedDict[tuple[str, str], _Count] = OrderedDict()

    def wait_s(self, name: str, address: str, *, now: datetime) -> int:
        """Return for how many seconds this name may not sign in from this address; 0 if it may."""
        until = [
            count.locked_until
            for key in ((name, address), (name, ""))
            if (count := self._counts.get(key)) is not None and count.locked_until is not None
        ]
        longest = max(until, default=now)
        return max(0, -int((now - longest).total_seconds() // 1))

    def failed(self, name: str, address: str, *, now: datetime) -> bool:
        """Count a failure; return whether it just locked something."""
        pair = self._count((name, address), self._per_pair, now)
        everywhere = self._count((name, ""), self._per_name, now)
        return pair or everywhere

    def succeeded(self, name: str, address: str) -> None:
        """Forget the failures of a pair; those of the name alone stay, since they may be an attacker's."""
        self._counts.pop((name, address), None)

    def _count(self, key: tuple[str, str], allowed: int, now: datetime) -> bool:
        count = self._counts.setdefault(key, _Count())
        self._counts.move_to_end(key)
        if len(self._counts) > _MOST_REMEMBERED:
            self._counts.popitem(last=False)
        count.failures += 1
        if count.failures < allowed:
            return False
        # Each further failure after the wait doubles it; the exponent is bounded so that it cannot overflow.
        doublings = min(count.failures - allowed, 10)
        count.locked_until = now + min(_FIRST_WAIT * 2**doublings, _LONGEST_WAIT)
        return True
