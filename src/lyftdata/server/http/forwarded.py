"""
Determines the client address of a request: the peer's, or the one in `X-Forwarded-For` of a trusted proxy.

Behind a proxy that LYFTDATA_TRUSTED_PROXIES does not name, all clients share one address: five wrong passwords by anyone
lock out every operator, and rate limits count all Workers together. Such a proxy can be recognized by the header it adds, and
a warning is logged once.
"""

import ipaddress
from collections.abc import Sequence
from operator import itemgetter

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from lyftdata.core.log_events.server import PROXY_SENDS_NO_X_FORWARDED_FOR, UNNAMED_PROXY
from lyftdata.log import emit, get_logger
from lyftdata.server.http.client_address import canonical_address

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_log = get_logger(__name__)

# Any caller can send these headers: the number of log lines is bounded, and the first proxy is among them.
_MAX_WARNINGS = 5
# The prefix length of IPv4-mapped IPv6 addresses (RFC 4291, section 2.5.5.2).
_MAPPED_PREFIX = 96
_IPV6 = 6
_X_FORWARDED_FOR = b"x-forwarded-for"
_NAME_OF = itemgetter(0)
_ADDED_BY_PROXIES = frozenset({_X_FORWARDED_FOR, b"forwarded", b"x-real-ip"})


def is_forwarded(headers: Headers) -> bool:
    """Return whether the headers say that a proxy forwarded the request."""
    return any(name.decode() in headers for name in _ADDED_BY_PROXIES)


class ForwardedAddresses:
    """
    The outermost middleware: sets the client address of each request.

    Args:
        app: The wrapped application.
        trusted_proxies: Addresses and networks whose `X-Forwarded-For` is trusted.
    """

    def __init__(self, app: ASGIApp, *, trusted_proxies: Sequence[str]) -> None:
        self._networks = [_unmapped(ipaddress.ip_network(proxy)) for proxy in trusted_proxies]
        self._app: ASGIApp = app
        if trusted_proxies:
            forms = [form for network in self._networks for form in _forms(network)]
            self._app = ProxyHeadersMiddleware(app, trusted_hosts=forms)  # type: ignore[arg-type,assignment]  # uvicorn's own names for ASGI's types
        self._warned: set[str] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on with its client's address."""
        if scope["type"] == "http" and scope.get("client"):
            peer, port = scope["client"]
            # On a dual-stack socket an IPv4 peer appears as ::ffff:192.0.2.1, which does not match the configured proxy.
            address = canonical_address(peer)
            # A link-local address includes its interface (fe80::1%2).
            if address not in {peer, "unknown"}:
                scope["client"] = (address, port)
            # Hardly any request has one of these headers: avoid building a set of all names.
            if len(self._warned) < _MAX_WARNINGS and not _ADDED_BY_PROXIES.isdisjoint(
                map(_NAME_OF, scope["headers"])
            ):
                self._warn(address, {name for name, _ in scope["headers"]} & _ADDED_BY_PROXIES)
        await self._app(scope, receive, send)

    def _warn(self, address: str, headers: set[bytes]) -> None:
        if address in self._warned or (self._is_named(address) and _X_FORWARDED_FOR in headers):
            return
        self._warned.add(address)
        named = ", ".join(sorted(header.decode() for header in headers))
        if self._is_named(address):
            emit(_log, PROXY_SENDS_NO_X_FORWARDED_FOR, peer=address, headers=named)
            return
        emit(_log, UNNAMED_PROXY, peer=address, headers=named)

    def _is_named(self, address: str) -> bool:
        try:
            parsed = ipaddress.ip_address(address)
        except ValueError:
            return False
        return any(parsed in network for network in self._networks)


def _unmapped(network: Network) -> Network:
    """Return the IPv4 network for one that an operator configured in IPv4-mapped form (::ffff:192.0.2.0/120)."""
    mapped = getattr(network.network_address, "ipv4_mapped", None)
    if mapped is None or network.prefixlen < _MAPPED_PREFIX:
        return network
    return ipaddress.IPv4Network((mapped, network.prefixlen - _MAPPED_PREFIX))


def _forms(network: Network) -> list[str]:
    """Return a network as text and, for IPv4, also in the IPv4-mapped form in which a proxy may forward addresses."""
    if network.version == _IPV6:
        return [str(network)]
    return [str(network), f"::ffff:{network.network_address}/{_MAPPED_PREFIX + network.prefixlen}"]
