"""Compares the origins of URLs, to decide whether they belong to the same Server."""

import ipaddress
import urllib.parse

DEFAULT_PORTS = {"http": 80, "https": 443}


def origin_of(url: str) -> str:
    """
    Return scheme, host and port of a URL, normalized, without a trailing slash.

    Raises:
        ValueError: The port is not a number from 0 to 65535.
    """
    parts = urllib.parse.urlsplit(url)
    host = (parts.hostname or "").lower()
    host = f"[{host}]" if ":" in host else host
    port = parts.port
    suffix = "" if port is None or port == DEFAULT_PORTS.get(parts.scheme) else f":{port}"
    return f"{parts.scheme}://{host}{suffix}"


def is_loopback(url: str) -> bool:
    """Return whether the host of a URL is a loopback address or name of this machine."""
    return is_loopback_host(urllib.parse.urlsplit(url).hostname or "")


def is_loopback_host(host: str) -> bool:
    """Return whether a name or an IP address, without brackets, is the loopback of this machine."""
    # Plain http is allowed only to loopback, so this must not be fooled: no DNS, since a name that resolves to 127.0.0.1 now may
    # resolve to another address a moment later (DNS rebinding), and no prefix match, since anyone can register `localhost.example`.
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def is_ip_address(host: str) -> bool:
    """Return whether a host, without brackets, is an IP address and not a name."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def same_origin(one: str, other: str) -> bool:
    """Return whether two URLs have the same origin; this machine's loopback names count as one host."""
    return _canonical(one) == _canonical(other)


def _canonical(url: str) -> str:
    try:
        origin = origin_of(url)
    except ValueError:
        return url
    if not is_loopback(origin):
        return origin
    parts = urllib.parse.urlsplit(origin)
    return f"{parts.scheme}://localhost:{parts.port or DEFAULT_PORTS.get(parts.scheme)}"
