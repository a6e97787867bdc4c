"""
Slows down guessing of operators' passwords, without letting a stranger lock an operator out.

Three counts of failures, each with a wait that doubles from a minute up to a quarter of an hour:

    name and network   after 5: somebody guesses one operator's password from one place
    network            after 30: somebody guesses names from one place
    name               after 50: somebody guesses one operator's password from many places

A network is an IPv4 address or an IPv6 /64. One from which the operator has signed in before answers only for its
own failures with that name: what others do elsewhere, or beside it, does not keep the operator out. A count is
forgotten an hour after its last failure.

    attempt = lockout.begin(name, address, exists=..., now=...)
    if attempt.wait_s: ...                     # the password is not looked at
    lockout.failed(attempt, now=...)           # or succeeded(attempt)
    lockout.end(attempt)                       # in any case
"""

from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping
from datetime import datetime, timedelta
from typing import Generic, TypeVar

import msgspec

from lyftdata.core.rate_limit import network_of

_MOST_REMEMBERED = 10_000
_FIRST_WAIT = timedelta(minutes=1)
_LONGEST_WAIT = timedelta(minutes=15)
_FORGOTTEN_AFTER = timedelta(hours=1)
_WAIT_FOR_OTHERS_S = 1

K = TypeVar("K", bound=Hashable)


class _Count:
    __slots__ = ("failures", "in_flight", "last_at", "locked_until")

    def __init__(self, now: datetime) -> None:
        self.failures = 0
        self.in_flight = 0
        self.last_at = now
        self.locked_until = now


class _Counts(Generic[K]):
    """Counts of one kind; above the bound the one not heard of for longest goes."""

    def __init__(self, allowed: int) -> None:
        self._allowed = allowed
        self._counts: OrderedDict[K, _Count] = OrderedDict()

    def wait_s(self, key: K, now: datetime) -> int:
        count = self._live(key, now)
        if count is None:
            return 0
        locked_s = -int((now - count.locked_until).total_seconds() // 1)
        if locked_s > 0:
            return locked_s
        # Attempts whose password is just being looked at count as if they failed: otherwise as many as are sent
        # at once would all be looked at before the first is counted.
        left = max(1, self._allowed - count.failures)
        return _WAIT_FOR_OTHERS_S if count.in_flight >= left else 0

    def begin(self, key: K, now: datetime) -> None:
        count = self._live(key, now) or self._counts.setdefault(key, _Count(now))
        count.in_flight += 1
        self._counts.move_to_end(key)
        if len(self._counts) > _MOST_REMEMBERED:
            self._counts.popitem(last=False)

    def end(self, key: K) -> None:
        count = self._counts.get(key)
        if count is not None:
            count.in_flight = max(0, count.in_flight - 1)
            if not count.failures and not count.in_flight:
                del self._counts[key]

    def failed(self, key: K, now: datetime) -> bool:
        count = self._counts.setdefault(key, _Count(now))
        count.failures += 1
        count.last_at = now
        if count.failures < self._allowed:
            return False
        # Each further failure after the wait doubles it; the exponent is bounded so that it cannot overflow.
        doublings = min(count.failures - self._allowed, 10)
        count.locked_until = now + min(_FIRST_WAIT * 2**doublings, _LONGEST_WAIT)
        return True

    def forgive(self, key: K) -> None:
        count = self._counts.get(key)
        if count is not None:
            count.failures = 0

    def _live(self, key: K, now: datetime) -> _Count | None:
        count = self._counts.get(key)
        if count is not None and now - count.last_at >= _FORGOTTEN_AFTER:
            count.failures = 0
        return count


class Attempt(msgspec.Struct, frozen=True):
    """
    One attempt to sign in.

    `wait_s` is for how many seconds this name may not sign in from this address; 0 if it may. `is_known` says whether
    it has signed in from this network before.
    """

    name: str
    network: str
    exists: bool
    is_known: bool = False
    wait_s: int = 0


def _same(name: str) -> str:
    return name


class Lockout:
    """
    Counts failed sign-ins in memory; pure, with the time passed in.

    Args:
        per_pair: Failures of one name from one network.
        per_network: Failures from one network.
        per_name: Failures of one name.
        hide: What a name is kept as. People type passwords where the name belongs: where counts leave this process,
            names do not.
        tell: Called with what other Servers are to count as well.
    """

    def __init__(
        self,
        *,
        per_pair: int = 5,
        per_network: int = 30,
        per_name: int = 50,
        hide: Callable[[str], str] = _same,
        tell: Callable[[dict[str, str | bool]], None] | None = None,
    ) -> None:
        self._hide = hide
        self._tell = tell
        # Counts of operators that exist are kept apart: whoever makes up names cannot push those out.
        self._pairs = {exists: _Counts[tuple[str, str]](per_pair) for exists in (True, False)}
        self._names = {exists: _Counts[str](per_name) for exists in (True, False)}
        self._networks = _Counts[str](per_network)
        self._known: OrderedDict[tuple[str, str], None] = OrderedDict()

    def begin(self, name: str, address: str, *, exists: bool, now: datetime) -> Attempt:
        """
        Ask whether a password may be looked at; if so, the attempt counts until `end`.

        Args:
            name: The operator's name as given.
            address: IP address.
            exists: Whether there is such an operator.
            now: Aware UTC time.
        """
        name = self._hide(name)
        pair = (name, network_of(address))
        attempt = Attempt(*pair, exists, is_known=pair in self._known)
        wait_s = self._pairs[exists].wait_s(pair, now)
        if not attempt.is_known:
            wait_s = max(
                wait_s, self._names[exists].wait_s(name, now), self._networks.wait_s(attempt.network, now)
            )
        if wait_s:
            return msgspec.structs.replace(attempt, wait_s=wait_s)
        self._begin(attempt, now)
        return attempt

    def _begin(self, attempt: Attempt, now: datetime) -> None:
        self._pairs[attempt.exists].begin((attempt.name, attempt.network), now)
        self._names[attempt.exists].begin(attempt.name, now)
        self._networks.begin(attempt.network, now)

    def end(self, attempt: Attempt) -> None:
        """Let the attempt go: the answer is known, or the password was not looked at after all."""
        self._pairs[attempt.exists].end((attempt.name, attempt.network))
        self._names[attempt.exists].end(attempt.name)
        self._networks.end(attempt.network)

    def failed(self, attempt: Attempt, *, now: datetime) -> bool:
        """Count a failure; return whether it just locked something."""
        self._told("failed", attempt)
        return self._count(attempt, now)

    def heard(self, event: Mapping[str, object], *, now: datetime) -> None:
        """Count what another Server has told; what a newer version tells is not ours to understand."""
        match event:
            case {"outcome": outcome, "name": str(name), "network": str(network), "exists": bool(exists)}:
                attempt = Attempt(name, network, exists)
                if outcome == "failed":
                    self._begin(attempt, now)
                    self._count(attempt, now)
                    self.end(attempt)
                elif outcome == "succeeded":
                    self._forgive(attempt)

    def _told(self, outcome: str, attempt: Attempt) -> None:
        if self._tell is not None:
            self._tell(
                {
                    "outcome": outcome,
                    "name": attempt.name,
                    "network": attempt.network,
                    "exists": attempt.exists,
                }
            )

    def _count(self, attempt: Attempt, now: datetime) -> bool:
        locked = [
            self._pairs[attempt.exists].failed((attempt.name, attempt.network), now),
            self._names[attempt.exists].failed(attempt.name, now),
            self._networks.failed(attempt.network, now),
        ]
        return any(locked)

    def succeeded(self, attempt: Attempt) -> None:
        """Remember the pair, and forget its failures; those of name and network may be an attacker's."""
        self._told("succeeded", attempt)
        self._forgive(attempt)

    def _forgive(self, attempt: Attempt) -> None:
        self._pairs[True].forgive((attempt.name, attempt.network))
        self._remember((attempt.name, attempt.network))

    def remember(self, name: str, address: str) -> None:
        """Take over from before a restart that an operator has signed in from an address."""
        self._remember((self._hide(name), network_of(address)))

    def _remember(self, pair: tuple[str, str]) -> None:
        self._known[pair] = None
        self._known.move_to_end(pair)
        if len(self._known) > _MOST_REMEMBERED:
            self._known.popitem(last=False)
