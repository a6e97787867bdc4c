"""
Limits failed attempts per address, so that guessing and floods are stopped without locking out honest callers.

Only failures are counted, and only failures are answered differently: a valid credential from the same address always
passes, since many Workers may share one address (NAT). Otherwise anyone behind that address could lock all of them out.
"""

import functools
import heapq
import ipaddress
from collections import OrderedDict

import msgspec


class _Bucket(msgspec.Struct):
    tokens: float
    at_s: float


class FailureLimiter:
    """
    A token bucket per address, for failures.

    Args:
        burst: Failures in a row before the limit applies.
        refill_per_s: Failures that are forgiven each second.
        max_addresses: How many addresses are remembered; the least recently used one is evicted.
    """

    def __init__(self, *, burst: int = 20, refill_per_s: float = 1 / 3, max_addresses: int = 10_000) -> None:
        self._burst = burst
        self._refill_per_s = refill_per_s
        self._max_addresses = max_addresses
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()
        self._unpublished: dict[str, int] | None = None

    def collect_for_peers(self) -> None:
        """Collect failures from now on for `take_unpublished`: an attacker must not have a full limit at each Server."""
        self._unpublished = {}

    def take_unpublished(self, max_networks: int) -> dict[str, int]:
        """
        Return failures that were not returned yet by network, for the networks with the most.

        The others follow with the next calls: if they were dropped, an attacker with many networks could have a limit at each Server.
        """
        unpublished = self._unpublished
        if not unpublished:
            return {}
        worst = heapq.nlargest(max_networks, unpublished, key=unpublished.__getitem__)
        return {network: unpublished.pop(network) for network in worst}

    def charge(self, network: str, failures: int, now_s: float) -> None:
        """Count failures that another Server has published."""
        bucket = self._bucket(network, now_s)
        bucket.tokens = max(0.0, bucket.tokens - failures)

    def wait_s(self, address: str, now_s: float) -> float | None:
        """Return what `record_failure` would return, without counting."""
        network = network_of(address)
        if network not in self._buckets:
            return None
        bucket = self._bucket(network, now_s)
        return None if bucket.tokens >= 1 else (1 - bucket.tokens) / self._refill_per_s

    def record_failure(self, address: str, now_s: float) -> float | None:
        """
        Count a failure.

        Args:
            address: IP address; an IPv6 one counts as its /64.
            now_s: Seconds of a monotonic clock; if it runs backwards, nothing is forgiven.

        Returns:
            None under the limit, otherwise the seconds until the next failure is under it.
        """
        wait_s = self.reserve(address, now_s)
        if wait_s is None:
            self.confirm(address)
        return wait_s

    def reserve(self, address: str, now_s: float) -> float | None:
        """
        Count a failure before its attempt, which `forgive` or `confirm` ends; returns what `record_failure` does.

        Peers learn of it by `confirm`: what was published cannot be taken back.
        """
        bucket = self._bucket(network_of(address), now_s)
        if bucket.tokens >= 1:
            bucket.tokens -= 1
            return None
        return (1 - bucket.tokens) / self._refill_per_s

    def confirm(self, address: str) -> None:
        """Let peers count a failure that `reserve` has counted here."""
        if self._unpublished is None:
            return
        network = network_of(address)
        # Memory exhaustion: bounded, as the buckets are.
        if network in self._unpublished or len(self._unpublished) < self._max_addresses:
            self._unpublished[network] = self._unpublished.get(network, 0) + 1

    def forgive(self, address: str, now_s: float) -> None:
        """Take back a failure that `reserve` has counted: its attempt has succeeded."""
        self._bucket(network_of(address), now_s).tokens += 1

    def _bucket(self, network: str, now_s: float) -> _Bucket:
        bucket = self._buckets.get(network)
        if bucket is None:
            bucket = self._buckets[network] = _Bucket(self._burst, now_s)
            # Memory exhaustion: bounded, however many addresses an attacker has.
            if len(self._buckets) > self._max_addresses:
                self._buckets.popitem(last=False)
        self._buckets.move_to_end(network)
        bucket.tokens = min(self._burst, bucket.tokens + max(0.0, now_s - bucket.at_s) * self._refill_per_s)
        bucket.at_s = max(bucket.at_s, now_s)
        return bucket


# Cached: the same few addresses recur, and parsing one takes longer than counting.
@functools.lru_cache(maxsize=10_000)
def network_of(address: str, *, ipv6_prefix: int = 64) -> str:
    """Return the network that an address counts as: itself, or for IPv6 its /64, which belongs to one customer."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv6Address):
        # Evasion: `::ffff:192.0.2.1` is the same peer as `192.0.2.1`, and must not have a limit of its own.
        if parsed.ipv4_mapped is not None:
            return str(parsed.ipv4_mapped)
        left = 128 - ipv6_prefix
        return str(ipaddress.ip_network((int(parsed) >> left << left, ipv6_prefix)))
    return str(parsed)
