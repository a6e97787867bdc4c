"""
Slows down guessing of operators' passwords, without letting an attacker lock an operator out.

Failures are counted four times:

    device             after 5: guesses from a device that carries this operator's device mark
    name and network   after 5: guesses at one operator's password from one network
    network            after 30: guesses at many names from one network
    name               after 50: guesses at one operator's password from many networks

A used-up device mark has no effect until a day after its last failure. For the other counts there is a wait that doubles from one
minute to a quarter of an hour.

A network is an IPv4 address or an IPv6 /64. Which counts can make an attempt wait depends on where it comes from:

    a marked device        its own count, whatever others do elsewhere or in the same network
    a known network        the count of name and network: the operator has signed in from there lately
    anywhere else          the counts of name and network, network, and name

Attacks: password guessing, from one place or many, and its counterpart, locking an operator out by failing on purpose.

An attempt that falls under several of these is checked if any of them permits it: a thief who uses up the five failures of
a stolen mark then counts as an unknown device, and does not lock out the operator in a known network. A failure counts in all four.
A sign-in with a mark clears the failures counted against the mark from the same network, but not a thief's failures
elsewhere. The other three counts are reset an hour after their last failure.

    attempt = lockout.begin(Claim(name, address, ...), now=...)
    if attempt.wait_s: ...                     # the password is not checked
    lockout.failed(attempt, now=...)           # or succeeded(attempt)
    lockout.end(attempt)                       # in any case
"""

from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Generic, TypeVar

import msgspec

from lyftdata.core.rate_limit import network_of

_MAX_COUNTS = 10_000
_MAX_UNPUBLISHED = 200
_FIRST_WAIT = timedelta(minutes=1)
_MAX_WAIT = timedelta(minutes=15)
_FORGOTTEN_AFTER = timedelta(hours=1)
_MARK_USED_UP_FOR = timedelta(days=1)
_WAIT_FOR_OTHERS_S = 1
_LONG_AGO = datetime.fromtimestamp(0, UTC)

K = TypeVar("K", bound=Hashable)


class _Count:
    __slots__ = ("failures", "in_flight", "last_at", "locked_until")

    def __init__(self, now: datetime) -> None:
        self.failures = 0
        self.in_flight = 0
        self.last_at = now
        self.locked_until = now


class _Counts(Generic[K]):
    """
    Counts of one kind; beyond the bound the least recently used one is evicted.

    Args:
        allowed: Failures before the next attempt must wait.
        first_wait: The first wait; each further failure doubles it.
        max_wait: The longest wait.
        forgotten_after: How long after its last failure a count is reset.
    """

    def __init__(
        self,
        allowed: int,
        *,
        first_wait: timedelta = _FIRST_WAIT,
        max_wait: timedelta = _MAX_WAIT,
        forgotten_after: timedelta = _FORGOTTEN_AFTER,
    ) -> None:
        self._allowed = allowed
        self._first_wait = first_wait
        self._max_wait = max_wait
        self._forgotten_after = forgotten_after
        self._counts: OrderedDict[K, _Count] = OrderedDict()

    def __len__(self) -> int:
        return len(self._counts)

    def wait_s(self, key: K, now: datetime, *, forgiven_at: datetime = _LONG_AGO) -> int:
        """Return how many seconds the next attempt must wait; failures up to `forgiven_at` are ignored."""
        count = self._find_unexpired(key, now)
        if count is None:
            return 0
        failures = 0 if count.last_at <= forgiven_at else count.failures
        locked_s = -int((now - count.locked_until).total_seconds() // 1)
        if locked_s > 0 and count.last_at > forgiven_at:
            return locked_s
        # TOCTOU: attempts whose password is being checked count as failures. Otherwise an attacker who sends a thousand guesses at
        # once would have all of them checked before the first is counted.
        left = max(1, self._allowed - failures)
        return _WAIT_FOR_OTHERS_S if count.in_flight >= left else 0

    def begin(self, key: K, now: datetime) -> None:
        count = self._find_unexpired(key, now) or self._counts.setdefault(key, _Count(now))
        count.in_flight += 1
        self._counts.move_to_end(key)
        if len(self._counts) > _MAX_COUNTS:
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
        # Each further failure doubles the wait; the exponent is bounded so that timedelta cannot overflow.
        doublings = min(count.failures - self._allowed, 10)
        count.locked_until = now + min(self._first_wait * 2**doublings, self._max_wait)
        return True

    def reset_failures(self, key: K) -> None:
        count = self._counts.get(key)
        if count is not None:
            count.failures = 0

    def subtract(self, key: K, failures: int) -> None:
        """Subtract failures; end the wait too if the remaining failures do not cause one."""
        count = self._counts.get(key)
        if count is not None:
            count.failures = max(0, count.failures - failures)
            if count.failures < self._allowed:
                count.locked_until = count.last_at

    def failures(self, key: K, now: datetime) -> int:
        """Return how many failures are counted."""
        count = self._find_unexpired(key, now)
        return 0 if count is None else count.failures

    def forget(self, matches: Callable[[K], bool]) -> None:
        """Forget the failures and waits of every key that matches; attempts in flight still count."""
        for key, count in self._counts.items():
            if matches(key):
                count.failures = 0
                count.locked_until = count.last_at

    def _find_unexpired(self, key: K, now: datetime) -> _Count | None:
        count = self._counts.get(key)
        if count is not None and now - count.last_at >= self._forgotten_after:
            count.failures = 0
        return count


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """
    Who wants to sign in, and what is known about the origin of the attempt.

    Args:
        name: The operator's name as given.
        address: IP address.
        exists: Whether there is such an operator.
        is_known_network: Whether this operator has recently signed in from this network.
        device: The ID of a checked device mark of this operator, or None.
        unlocks: How often this operator was unlocked.
    """

    name: str
    address: str
    exists: bool
    is_known_network: bool = False
    device: str | None = None
    unlocks: int = 0


class Attempt(msgspec.Struct, frozen=True):
    """One attempt to sign in; `wait_s` is the number of seconds until its password may be checked, 0 for now."""

    name: str
    network: str
    exists: bool
    device: str | None = None
    wait_s: int = 0


def _same(name: str) -> str:
    return name


class Lockout:
    """
    Counts failed sign-ins in memory; pure, the time is passed in.

    Args:
        per_device: Failures of one marked device.
        per_pair: Failures of one name from one network.
        per_network: Failures from one network.
        per_name: Failures of one name.
        hide: Maps a name to its stored form. Password disclosure: people type passwords into the name field, so names must not
            leave this process together with the counts.
        is_shared: Whether counts are published to other Servers: otherwise an attacker would have a full set of guesses at each.
        unlocks: How often each operator was unlocked before this process started.
    """

    def __init__(
        self,
        *,
        per_device: int = 5,
        per_pair: int = 5,
        per_network: int = 30,
        per_name: int = 50,
        hide: Callable[[str], str] = _same,
        is_shared: bool = False,
        unlocks: Mapping[str, int] | None = None,
    ) -> None:
        self._hide = hide
        # Cache exhaustion: counts of operators that exist are kept apart, so that an attacker cannot evict them by trying
        # made-up names and then start guessing again.
        self._pairs = {exists: _Counts[tuple[str, str]](per_pair) for exists in (True, False)}
        self._names = {exists: _Counts[str](per_name) for exists in (True, False)}
        self._networks = _Counts[str](per_network)
        used_up_for = {
            "first_wait": _MARK_USED_UP_FOR,
            "max_wait": _MARK_USED_UP_FOR,
            "forgotten_after": _MARK_USED_UP_FOR,
        }
        self._devices = _Counts[tuple[str, str]](per_device, **used_up_for)
        # The failures of a device, by network.
        self._devices_by_network = _Counts[tuple[str, str, str]](per_device, **used_up_for)
        self._unlocks = {hide(name): count for name, count in (unlocks or {}).items()}
        self._forgiven_at: dict[str, datetime] = {}
        self._unpublished: list[dict[str, str | bool | None]] | None = [] if is_shared else None

    def begin(self, claim: Claim, *, now: datetime) -> Attempt:
        """Decide whether a password may be checked; if so, the attempt counts as in flight until `end`."""
        attempt = Attempt(
            self._hide(claim.name), network_of(claim.address), claim.exists, device=claim.device
        )
        if claim.exists:
            self._apply_unlock(attempt.name, claim.unlocks, now)
        wait_s = self._wait_s(attempt, now, is_known_network=claim.is_known_network)
        if wait_s:
            return msgspec.structs.replace(attempt, wait_s=wait_s)
        self._begin(attempt, now)
        return attempt

    def _wait_s(self, attempt: Attempt, now: datetime, *, is_known_network: bool) -> int:
        """Return the shortest of the waits that apply to the attempt."""
        name, network = attempt.name, attempt.network
        here = self._pairs[attempt.exists].wait_s((name, network), now)
        by_name = self._names[attempt.exists].wait_s(name, now)
        by_network = self._networks.wait_s(network, now, forgiven_at=self._forgiven_at.get(name, _LONG_AGO))
        waits = [max(here, by_name, by_network)]
        if is_known_network:
            waits.append(here)
        if attempt.device is not None:
            waits.append(self._devices.wait_s((name, attempt.device), now))
        return min(waits)

    def _apply_unlock(self, name: str, unlocks: int, now: datetime) -> None:
        """
        Forget the failures counted against a name if it was unlocked since the last attempt.

        By a counter and not by a time: the clocks of several hosts differ, and one that is ahead would forgive every failure until the
        others catch up.
        """
        if self._unlocks.get(name, 0) == unlocks:
            return
        self._unlocks[name] = unlocks
        # The count of a network may be an attacker's: it is kept, but its failures so far are ignored for this name.
        self._forgiven_at[name] = now
        self._names[True].forget(lambda key: key == name)
        self._pairs[True].forget(lambda key: key[0] == name)
        self._devices.forget(lambda key: key[0] == name)
        self._devices_by_network.forget(lambda key: key[0] == name)

    def _begin(self, attempt: Attempt, now: datetime) -> None:
        self._pairs[attempt.exists].begin((attempt.name, attempt.network), now)
        self._names[attempt.exists].begin(attempt.name, now)
        self._networks.begin(attempt.network, now)
        if attempt.device is not None:
            self._devices.begin((attempt.name, attempt.device), now)
            self._devices_by_network.begin((attempt.name, attempt.device, attempt.network), now)

    def end(self, attempt: Attempt) -> None:
        """Release the attempt: the result is known, or the password was not checked after all."""
        self._pairs[attempt.exists].end((attempt.name, attempt.network))
        self._names[attempt.exists].end(attempt.name)
        self._networks.end(attempt.network)
        if attempt.device is not None:
            self._devices.end((attempt.name, attempt.device))
            self._devices_by_network.end((attempt.name, attempt.device, attempt.network))

    def failed(self, attempt: Attempt, *, now: datetime) -> bool:
        """Count a failure; return whether it caused a lockout."""
        self._publish("failed", attempt)
        return self._count(attempt, now)

    def _count(self, attempt: Attempt, now: datetime) -> bool:
        locked = [
            self._pairs[attempt.exists].failed((attempt.name, attempt.network), now),
            self._names[attempt.exists].failed(attempt.name, now),
            self._networks.failed(attempt.network, now),
        ]
        if attempt.device is not None:
            locked.append(self._devices.failed((attempt.name, attempt.device), now))
            self._devices_by_network.failed((attempt.name, attempt.device, attempt.network), now)
        return any(locked)

    def succeeded(self, attempt: Attempt, *, now: datetime) -> None:
        """Forget the failures of the device in this network, or else of name and network; others may be an attacker's."""
        self._publish("succeeded", attempt)
        self._apply_success(attempt, now)

    def _apply_success(self, attempt: Attempt, now: datetime) -> None:
        if attempt.device is not None:
            # Counter reset by a bystander: an attacker in the operator's network gets no new guesses at the name when the operator
            # signs in from a marked device. Nor does a thief of the mark, who is in another network.
            device, here = (attempt.name, attempt.device), (attempt.name, attempt.device, attempt.network)
            self._devices.subtract(device, self._devices_by_network.failures(here, now))
            self._devices_by_network.reset_failures(here)
        else:
            self._pairs[True].reset_failures((attempt.name, attempt.network))

    def take_unpublished(self) -> list[dict[str, str | bool | None]]:
        """Return the outcomes since the last call, for other Servers to count."""
        if not self._unpublished:
            return []
        taken, self._unpublished = self._unpublished, []
        return taken

    def receive(self, event: Mapping[str, object], *, now: datetime) -> None:
        """Count what another Server has published; outcomes that only a newer version knows are ignored."""
        match event:
            case {"outcome": outcome, "name": str(name), "network": str(network), "exists": bool(exists)}:
                device = event.get("device")
                attempt = Attempt(name, network, exists, device=device if isinstance(device, str) else None)
                if outcome == "failed":
                    self._begin(attempt, now)
                    self._count(attempt, now)
                    self.end(attempt)
                elif outcome == "succeeded":
                    self._apply_success(attempt, now)

    def _publish(self, outcome: str, attempt: Attempt) -> None:
        if self._unpublished is not None and len(self._unpublished) < _MAX_UNPUBLISHED:
            self._unpublished.append(
                {
                    "outcome": outcome,
                    "name": attempt.name,
                    "network": attempt.network,
                    "exists": attempt.exists,
                    "device": attempt.device,
                }
            )
