"""
Limits how often wrong enrollment keys may be tried; pure, the time is passed in.

Brute force: unlike an API key, an enrollment key may be a phrase that a person chose, so guessing must be limited. Beyond a
limit credentials are refused unread, right ones too: an answer that depended on the key would let guessing go on. There are
three counts, each of wrong keys only:

    network   20, then one every 3 seconds: an IPv4 address or an IPv6 /64
    site      60, then one a second: an IPv6 /48, which is what one customer of a provider has; IPv4 as the network
    all       300, then one a second, together; a site without a wrong key in the last hour is exempt

The exemption keeps a flood of guesses from locking out honest Workers, and gives an attacker one guess for each new site. It
ends where sites are cheap or too many to remember:

    provider  256 sites that failed for the first time, then one every 15 seconds: an IPv6 /32, an IPv4 /16. Beyond it
              no site of that provider is exempt: the holder of a /32 has 65,536 sites.
    memory    20,000 sites that failed within the last hour. Beyond it no site is exempt, and none is forgotten early.

docs/decisions/0017 says what this costs.
"""

import functools
import ipaddress
from collections import OrderedDict

from lyftdata.core.rate_limit import FailureLimiter, network_of

_ALL = "all"
_REMEMBERED_FOR_S = 3_600.0
_MAX_SITES = 20_000


class EnrollmentLimit:
    """
    Counts wrong enrollment keys, and decides whether the next credential is checked.

    Args:
        max_sites: How many sites with a failure within the last hour are remembered.
    """

    def __init__(self, *, max_sites: int = _MAX_SITES) -> None:
        self._max_sites = max_sites
        self._networks = FailureLimiter(burst=20, refill_per_s=1 / 3)
        self._sites = FailureLimiter(burst=60, refill_per_s=1)
        self._all = FailureLimiter(burst=300, refill_per_s=1)
        self._first_failures = FailureLimiter(burst=256, refill_per_s=1 / 15)
        # By the time of the last failure, the oldest first.
        self._failed_at_s: OrderedDict[str, float] = OrderedDict()

    def wait_s(self, address: str, now_s: float) -> float | None:
        """
        Return None if a credential from this address may be checked now, otherwise in how many seconds.

        Args:
            address: IP address.
            now_s: Seconds on any clock that does not run backwards.
        """
        network = network_of(address)
        site = _site_of(network)
        waits = [self._networks.wait_s(address, now_s), self._sites.wait_s(site, now_s)]
        if not self._is_exempt(site, _provider_of(network), now_s):
            waits.append(self._all.wait_s(_ALL, now_s))
        return max((wait for wait in waits if wait is not None), default=None)

    def record_wrong_key(self, address: str, now_s: float) -> None:
        """Count a wrong key."""
        self._networks.record_failure(address, now_s)
        self._count(network_of(address), 1, now_s)

    def collect_for_peers(self) -> None:
        """Collect failures from now on for `take_unpublished`."""
        self._networks.collect_for_peers()

    def take_unpublished(self, max_networks: int) -> dict[str, int]:
        """Return failures that were not returned yet by network, for the networks with the most; the others follow."""
        return self._networks.take_unpublished(max_networks)

    def charge(self, network: str, failures: int, now_s: float) -> None:
        """Count failures that another Server published: otherwise an attacker would have a full limit at each Server."""
        self._networks.charge(network, failures, now_s)
        self._count(network, failures, now_s)

    def _is_exempt(self, site: str, provider: str, now_s: float) -> bool:
        """Return whether a site is exempt from the count of all networks together."""
        self._forget_old(now_s)
        return (
            site not in self._failed_at_s
            and len(self._failed_at_s) < self._max_sites
            and self._first_failures.wait_s(provider, now_s) is None
        )

    def _count(self, network: str, failures: int, now_s: float) -> None:
        site = _site_of(network)
        self._sites.charge(site, failures, now_s)
        self._all.charge(_ALL, failures, now_s)
        self._forget_old(now_s)
        if site not in self._failed_at_s:
            self._first_failures.charge(_provider_of(network), 1, now_s)
            # Memory exhaustion: a full table neither grows nor evicts. While it is full `_is_exempt` exempts no site, so an attacker
            # with more sites than it holds gains no guess by filling it.
            if len(self._failed_at_s) >= self._max_sites:
                return
        self._failed_at_s[site] = now_s
        self._failed_at_s.move_to_end(site)

    def _forget_old(self, now_s: float) -> None:
        while self._failed_at_s:
            site, failed_at_s = next(iter(self._failed_at_s.items()))
            if now_s - failed_at_s < _REMEMBERED_FOR_S:
                return
            del self._failed_at_s[site]


def _site_of(network: str) -> str:
    """Return the site of a network (as returned by `network_of`): an IPv6 /64 belongs to its /48."""
    return f"site {_leading_bits(network, ipv6=48, ipv4=32)}"


def _provider_of(network: str) -> str:
    """Return the network of the provider that assigns sites: an IPv6 /32, an IPv4 /16."""
    return f"provider {_leading_bits(network, ipv6=32, ipv4=16)}"


# Cached, as in `network_of`: the same few networks recur.
@functools.lru_cache(maxsize=10_000)
def _leading_bits(network: str, *, ipv6: int, ipv4: int) -> str:
    try:
        first = ipaddress.ip_address(network.partition("/")[0])
    except ValueError:
        return network
    bits = ipv6 if first.version == 6 else ipv4  # noqa: PLR2004 - IPv6
    return f"{first.packed[: bits // 8].hex()}/{bits}"
