"""
Slows down guessing of operators' passwords, without letting a stranger lock an operator out.

Three counts of failures, each with a wait that doubles from a minute up to a quarter of an hour:

    name and address   after 5: somebody guesses one operator's password from one place
    address            after 30: somebody guesses names from one place
    name               after 50: somebody guesses one operator's password from many places

An address from which the operator has signed in before answers only for its own failures with that name: what
others do elsewhere, or beside it, does not keep the operator out.
"""

from collections import OrderedDict
from datetime import datetime, timedelta
from typing import Any

_MOST_REMEMBERED = 10_000
_FIRST_WAIT = timedelta(minutes=1)
_LONGEST_WAIT = timedelta(minutes=15)
_ANY = ""


class _Count:
    __slots__ = ("failures", "locked_until")

    def __init__(self) -> None:
        self.failures = 0
        self.locked_until: datetime | None = None


class Lockout:
    """Counts failed sign-ins in memory; pure, with the time passed in."""

    def __init__(self, *, per_pair: int = 5, per_address: int = 30, per_name: int = 50) -> None:
        self._per_pair = per_pair
        self._per_address = per_address
        self._per_name = per_name
        self._counts: OrderedDict[tuple[str, str], _Count] = OrderedDict()
        self._known: OrderedDict[tuple[str, str], None] = OrderedDict()

    def wait_s(self, name: str, address: str, *, now: datetime) -> int:
        """Return for how many seconds this name may not sign in from this address; 0 if it may."""
        keys = [(name, address)]
        if (name, address) not in self._known:
            keys += [(name, _ANY), (_ANY, address)]
        found = [self._counts[key].locked_until for key in keys if key in self._counts]
        longest = max((until for until in found if until is not None), default=now)
        return max(0, -int((now - longest).total_seconds() // 1))

    def failed(self, name: str, address: str, *, now: datetime) -> bool:
        """Count a failure; return whether it just locked something."""
        locked = [
            self._count((name, address), self._per_pair, now),
            self._count((name, _ANY), self._per_name, now),
            self._count((_ANY, address), self._per_address, now),
        ]
        return any(locked)

    def succeeded(self, name: str, address: str) -> None:
        """Remember the pair, and forget its failures; those of the name and the address may be an attacker's."""
        self._counts.pop((name, address), None)
        self._known[name, address] = None
        _bound(self._known, (name, address))

    def _count(self, key: tuple[str, str], allowed: int, now: datetime) -> bool:
        count = self._counts.setdefault(key, _Count())
        _bound(self._counts, key)
        count.failures += 1
        if count.failures < allowed:
            return False
        # Each further failure after the wait doubles it; the exponent is bounded so that it cannot overflow.
        doublings = min(count.failures - allowed, 10)
        count.locked_until = now + min(_FIRST_WAIT * 2**doublings, _LONGEST_WAIT)
        return True


def _bound(remembered: OrderedDict[tuple[str, str], Any], key: tuple[str, str]) -> None:
    """Let the one that was not heard of for longest go."""
    remembered.move_to_end(key)
    if len(remembered) > _MOST_REMEMBERED:
        remembered.popitem(last=False)
