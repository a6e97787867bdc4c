"""
Maps a caller's address to its network, so coarsely that requests of one host usually come from the same one.

IPv4 counts by its /24, IPv6 by its /64, and loopback as one network for both versions. docs/decisions/0027 gives the reasons.
"""

import functools
import ipaddress
from collections.abc import Sequence

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

LOOPBACK = "loopback"
UNKNOWN = "unknown"
_PREFIXES = {4: 24, 6: 64}


# Cached: it is called for each token, and the same few addresses recur.
@functools.lru_cache(maxsize=10_000)
def network_of_host(address: str) -> str:
    """Return the network of an address: its /24 or /64, `loopback`, or `unknown` if it is not an IP address."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return UNKNOWN
    parsed = getattr(parsed, "ipv4_mapped", None) or parsed
    # `localhost` may be ::1 or 127.0.0.1: each client chooses.
    if parsed.is_loopback:
        return LOOPBACK
    return str(ipaddress.ip_network((parsed, _PREFIXES[parsed.version]), strict=False))


def parse_network(text: str) -> Network:
    """
    Parse a network in CIDR form; a bare address is a network of one. Bits after the prefix are ignored.

    Raises:
        ValueError: Not a network.
    """
    return ipaddress.ip_network(text.strip(), strict=False)


def is_in(address: str | None, network: Network) -> bool:
    """Return whether an address is in a network; what is not an IP address is in none."""
    try:
        parsed = ipaddress.ip_address((address or "").partition("%")[0])
    except ValueError:
        return False
    return (getattr(parsed, "ipv4_mapped", None) or parsed) in network


def may_be_in(host_network: str, network: Network) -> bool:
    """Return whether some address in a host's network (`network_of_host`) is also in `network`."""
    if host_network == LOOPBACK:
        return network.is_loopback
    try:
        parsed = ipaddress.ip_network(host_network)
    except ValueError:
        return False
    return parsed.version == network.version and parsed.overlaps(network)


class NetworkGroup:
    """
    Networks that count as one, because a host may call from any of them.

    Args:
        networks: In CIDR form.
    """

    def __init__(self, networks: Sequence[str]) -> None:
        self._networks = [ipaddress.ip_network(network) for network in networks]

    def is_same(self, one: str, other: str) -> bool:
        """
        Return whether two addresses may belong to one host.

        An unknown address may be anything, so it is never a reason for an alert.
        """
        networks = {network_of_host(one), network_of_host(other)}
        if len(networks) == 1 or UNKNOWN in networks:
            return True
        return bool(self._networks) and self._holds(one) and self._holds(other)

    def _holds(self, address: str) -> bool:
        parsed = ipaddress.ip_address(address.partition("%")[0])
        parsed = getattr(parsed, "ipv4_mapped", None) or parsed
        return any(parsed in network for network in self._networks)
