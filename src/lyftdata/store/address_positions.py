"""Test many addresses against a network at once, with the result of `core.networks.is_in` for each."""

import ipaddress
import socket
from collections.abc import Sequence
from itertools import compress, count

from lyftdata.core.networks import Network, is_in

_ALL_BUT_THE_LAST_OCTET = 24
_IPV4_BITS = 32
_MAPPED = 0xFFFF
"""The prefix of an IPv4-mapped IPv6 address (::ffff:0:0/96), as a number."""


def positions_in(addresses: Sequence[str], network: Network) -> list[int]:
    """Return the positions of the addresses that the network contains, as `is_in` decides."""
    return list(compress(count(), are_in(addresses, [network])))


def are_in(addresses: Sequence[str], networks: Sequence[Network]) -> list[bool]:
    """Return for each address whether any of the networks contains it, as `is_in` decides; fast enough for 100,000 addresses."""
    each_in = [_are_in_one(addresses, network) for network in networks]
    return each_in[0] if len(each_in) == 1 else list(map(any, zip(*each_in, strict=True)))


def _are_in_one(addresses: Sequence[str], network: Network) -> list[bool]:
    if isinstance(network, ipaddress.IPv6Network):
        # An IPv4-mapped address is in no IPv6 network.
        return [":" in each and _is_in_v6(each, network) for each in addresses]
    if network.prefixlen <= _ALL_BUT_THE_LAST_OCTET:
        # The octets before the last one decide, and a fleet has few different ones.
        starts = [each.rpartition(".")[0] for each in addresses]
        known = _Starts(network)
        fits = list(map(known.__getitem__, starts))
        if "" in known:
            return [
                fit if start else is_in(each, network)
                for fit, start, each in zip(fits, starts, addresses, strict=True)
            ]
        return fits
    start = str(network.network_address).rpartition(".")[0]
    return [(each.startswith(start) or ":" in each) and is_in(each, network) for each in addresses]


class _Starts(dict[str, bool]):
    """Caches whether a network contains the addresses that start with these octets; the last octet does not matter."""

    def __init__(self, network: ipaddress.IPv4Network) -> None:
        super().__init__()
        self._network = network

    def __missing__(self, start: str) -> bool:
        self[start] = found = is_in(f"{start}.0", self._network)
        return found


def _is_in_v6(address: str, network: ipaddress.IPv6Network) -> bool:
    try:
        packed = socket.inet_pton(socket.AF_INET6, address)
    except (OSError, ValueError):
        return is_in(address, network)
    number = int.from_bytes(packed)
    if number >> _IPV4_BITS == _MAPPED:
        return False
    return number & int(network.netmask) == int(network.network_address)
