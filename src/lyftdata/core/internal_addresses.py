"""
Tells internal addresses from public ones.

Server-side request forgery: someone who may choose an address that the Server connects to could otherwise reach what only the Server's
host or network can reach: the metadata service of a cloud, an unprotected database, the Server itself.
"""

import ipaddress

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
# The only IPv6 addresses of the public internet so far (RFC 4291, section 2.4). Python takes others for global, such as the site-local ones
# (fec0::/10), which some networks still use.
_GLOBAL_UNICAST = ipaddress.IPv6Network("2000::/3")
# For documentation (RFC 9637); not known to older versions of Python.
_DOCUMENTATION = ipaddress.IPv6Network("3fff::/20")
# IETF protocol assignments; versions of Python classify parts of it differently.
_PROTOCOLS = ipaddress.IPv4Network("192.0.0.0/24")
# Azure's host agent answers at a public address, in every virtual network.
_METADATA = frozenset({ipaddress.ip_address("168.63.129.16")})


def is_internal(address: Address) -> bool:
    """
    Return whether an address is not on the public internet, or leads from there to an internal one.

    Internal are loopback, link-local (where metadata services are), private, shared, multicast and reserved addresses. An IPv6 address
    that embeds an IPv4 address (mapped, NAT64, 6to4, Teredo) is classified by that address.
    """
    return any(_is_internal_itself(found) for found in (address, *_embedded(address)))


def _is_internal_itself(address: Address) -> bool:
    # Mapped and NAT64 addresses are classified by the embedded IPv4 address: versions of Python differ about the outer one.
    if isinstance(address, ipaddress.IPv6Address) and (address.ipv4_mapped is not None or address in _NAT64):
        return False
    if isinstance(address, ipaddress.IPv6Address) and (
        address not in _GLOBAL_UNICAST or address in _DOCUMENTATION
    ):
        return True
    return (
        not address.is_global
        or address.is_multicast
        or address.is_reserved
        or address.is_unspecified
        or address in _METADATA
        or address in _PROTOCOLS
    )


def _embedded(address: Address) -> list[Address]:
    """Return the IPv4 addresses that an IPv6 address embeds."""
    if not isinstance(address, ipaddress.IPv6Address):
        return []
    found: list[Address | None] = [address.ipv4_mapped, address.sixtofour, *(address.teredo or ())]
    if address in _NAT64:
        found.append(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
    return [one for one in found if one is not None]
