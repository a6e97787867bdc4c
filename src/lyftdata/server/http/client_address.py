"""Finds the IP address of a caller, normalized."""

import functools
import ipaddress
from collections.abc import Mapping
from typing import Any


def client_address(scope: Mapping[str, Any]) -> str:
    """Return the caller's IP address; behind a trusted proxy, uvicorn has replaced it with the client's."""
    return canonical_address((scope.get("client") or ("", 0))[0])


@functools.lru_cache(maxsize=4_096)
def canonical_address(host: str) -> str:
    """Return the canonical form of an address, without a zone; an IPv4-mapped address becomes an IPv4 address."""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return "unknown"
    mapped = getattr(address, "ipv4_mapped", None)
    return str(mapped or address)
