"""
How often a wrong enrollment key may be tried before credentials are not looked at any more; pure, with the time passed in.

Unlike an API key, an enrollment key may be a phrase that a person chose, so guessing must end somewhere. Three counts,
each of wrong keys only:

    network   20, then one every 3 seconds: an IPv4 address or an IPv6 /64
    site      60, then one a second: an IPv6 /48, which is what one customer of a provider has; IPv4 as the network
    all       300, then one a second, together. Beyond it a site is looked at unless it has tried a wrong key within the
              last hour: guessers with many addresses have one guess each, and the right key from elsewhere passes.

docs/decisions/0017 says what this costs.
"""

import ipaddress
from collections import OrderedDict

from lyftdata.core.rate_limit import FailureLimiter, network_of

_SITE_PREFIX = 48
_ALL = "all"
_REMEMBERED_FOR_S = 3_600.0
_MAX_SITES = 50_000


class EnrollmentLimit:
    """Counts wrong enrollment keys, and says whether the next credential is looked at."""

    def __init__(self) -> None:
        self._networks = FailureLimiter(burst=20, refill_per_s=1 / 3)
        self._sites = FailureLimiter(burst=60, refill_per_s=1)
        self._all = FailureLimiter(burst=300, refill_per_s=1)
        self._failed_at_s: OrderedDict[str, float] = OrderedDict()

    def wait_s(self, address: str, now_s: float) -> float | None:
        """
        Return None if a credential from this address is to be looked at, else for how many seconds none is.

        Args:
            address: IP address.
            now_s: Seconds on any clock that does not run backwards.
        """
        site = _site_of(network_of(address))
        waits = [self._networks.wait_s(address, now_s), self._sites.wait_s(site, now_s)]
        failed_at_s = self._failed_at_s.get(site)
        if failed_at_s is not None and now_s - failed_at_s < _REMEMBERED_FOR_S:
            waits.append(self._all.wait_s(_ALL, now_s))
        return max((wait for wait in waits if wait is not None), default=None)

    def record_wrong_key(self, address: str, now_s: float) -> None:
        """Count a wrong key."""
        self._networks.record_failure(address, now_s)
        self._count(_site_of(network_of(address)), 1, now_s)

    def share(self) -> None:
        """Remember from here on what is counted, for other Servers."""
        self._networks.share()

    def take_untold(self, most: int) -> dict[str, int]:
        """Return the failures counted since the last time by network, of those with the most."""
        return self._networks.take_untold(most)

    def charge(self, network: str, failures: int, now_s: float) -> None:
        """Count failures that another Server has seen."""
        self._networks.charge(network, failures, now_s)
        self._count(_site_of(network), failures, now_s)

    def _count(self, site: str, failures: int, now_s: float) -> None:
        self._sites.charge(site, failures, now_s)
        self._all.charge(_ALL, failures, now_s)
        self._failed_at_s[site] = now_s
        self._failed_at_s.move_to_end(site)
        if len(self._failed_at_s) > _MAX_SITES:
            self._failed_at_s.popitem(last=False)


def _site_of(network: str) -> str:
    """Return the site of a network as `network_of` gives it: an IPv6 /64 belongs to its /48."""
    try:
        first = ipaddress.ip_network(network).network_address
    except ValueError:
        return network
    return f"site {network_of(str(first), ipv6_prefix=_SITE_PREFIX)}"
