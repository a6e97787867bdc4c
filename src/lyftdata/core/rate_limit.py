"""
A limit on failed attempts per address.

Only failures are counted and only failures are answered differently: a right credential from the same address
always passes, since a whole fleet may sit behind one.
"""

import functools
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
        burst: Failures in a row before the limit is felt.
        refill_per_s: Failures that are forgiven each second.
        max_addresses: How many addresses are remembered; the one not heard of for longest is forgotten.
    """

    def __init__(self, *, burst: int = 20, refill_per_s: float = 1 / 3, max_addresses: int = 10_000) -> None:
        self._burst = burst
        self._refill_per_s = refill_per_s
        self._max_addresses = max_addresses
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()
        self._untold: dict[str, int] | None = None

    def share(self) -> None:
        """Remember from here on what is counted, for other Servers: one limit is not to be had once at each."""
        self._untold = {}

    def take_untold(self, most: int) -> dict[str, int]:
        """Return the failures counted since the last time by network, of those with the most; the rest is let go."""
        if not self._untold:
            return {}
        untold, self._untold = self._untold, {}
        worst = sorted(untold, key=untold.__getitem__, reverse=True)[:most]
        return {network: untold[network] for network in worst}

    def charge(self, network: str, failures: int, now_s: float) -> None:
        """Count failures that another Server has seen."""
        bucket = self._bucket(network, now_s)
        bucket.tokens = max(0.0, bucket.tokens - failures)

    def wait_s(self, address: str, now_s: float) -> float | None:
        """Return what `record_failure` would, and count nothing."""
        network = network_of(address)
        if network not in self._buckets:
            return None
        bucket = self._bucket(network, now_s)
        return None if bucket.tokens >= 1 else (1 - bucket.tokens) / self._refill_per_s

    def record_failure(self, address: str, now_s: float) -> float | None:
        """
        Count a failure.

        Args:
            address: IP address; an IPv6 one counts as its /64, since anyone who has one has them all.
            now_s: Seconds on any clock that does not run backwards; if it does, nothing is forgiven.

        Returns:
            None under the limit, else the seconds after which the next failure is answered as such.
        """
        network = network_of(address)
        bucket = self._bucket(network, now_s)
        if bucket.tokens >= 1:
            bucket.tokens -= 1
            if self._untold is not None:
                self._untold[network] = self._untold.get(network, 0) + 1
            return None
        return (1 - bucket.tokens) / self._refill_per_s

    def _bucket(self, network: str, now_s: float) -> _Bucket:
        bucket = self._buckets.get(network)
        if bucket is None:
            bucket = self._buckets[network] = _Bucket(self._burst, now_s)
            if len(self._buckets) > self._max_addresses:
                self._buckets.popitem(last=False)
        self._buckets.move_to_end(network)
        bucket.tokens = min(self._burst, bucket.tokens + max(0.0, now_s - bucket.at_s) * self._refill_per_s)
        bucket.at_s = max(bucket.at_s, now_s)
        return bucket


# Of the same few addresses again and again: reading one takes longer than all that is then counted.
@functools.lru_cache(maxsize=10_000)
def network_of(address: str, *, ipv6_prefix: int = 64) -> str:
    """Return what an address counts as: itself, or for IPv6 its /64, since anyone who has one has them all."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped is not None:
            return str(parsed.ipv4_mapped)
        left = 128 - ipv6_prefix
        return str(ipaddress.ip_network((int(parsed) >> left << left, ipv6_prefix)))
    return str(parsed)
