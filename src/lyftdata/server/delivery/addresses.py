"""
Determines the addresses to which the Server may connect to deliver events.

DNS rebinding: a name is resolved once, its addresses are checked, and the connection is made to one of them, so that it does
not matter if the name resolves to another address a moment later.
"""

import asyncio
import ipaddress
import socket
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from lyftdata.core.event_destinations import Endpoint
from lyftdata.core.internal_addresses import Address, is_internal
from lyftdata.core.networks import Network
from lyftdata.server.delivery.messages import DeliveryError

_RESOLVE_WITHIN_S = 10.0
_MAX_ADDRESSES = 4
_SETTING = "LYFTDATA_EVENTS_ALLOWED_NETWORKS"

Resolve = Callable[[str, int], Sequence[str]]


def resolve_by_system(host: str, port: int) -> list[str]:
    """Return the addresses of a host, in the order given by the system (RFC 6724)."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(info[4][0]) for info in found))


class AllowedAddresses:
    """
    Resolves hosts to addresses that connections may be made to.

    Args:
        allowed: Networks that are allowed although they are internal, also without encryption.
        threads: Resolving blocks; nothing that others wait for runs in these threads.
        resolve: Returns the addresses of a host.
    """

    def __init__(
        self, allowed: Sequence[Network], *, threads: ThreadPoolExecutor, resolve: Resolve = resolve_by_system
    ) -> None:
        self._allowed = allowed
        self._threads = threads
        self._resolve = resolve

    async def find(self, endpoint: Endpoint) -> list[str]:
        """
        Return the allowed addresses of an endpoint, at least one.

        Raises:
            DeliveryError: The name has no address, or none that is allowed.
        """
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(_RESOLVE_WITHIN_S):
                found = await loop.run_in_executor(self._threads, self._resolve, endpoint.host, endpoint.port)
        except TimeoutError:
            raise DeliveryError(f"{endpoint.host} was not resolved within {_RESOLVE_WITHIN_S:g} s.") from None
        except (OSError, UnicodeError):
            raise DeliveryError(f"{endpoint.host} cannot be resolved.") from None
        usable = [
            address for address in found if self._is_usable(address, is_encrypted=endpoint.is_encrypted)
        ]
        if not usable:
            raise DeliveryError(_why_not(endpoint, found, self._is_usable))
        return usable[:_MAX_ADDRESSES]

    def _is_usable(self, text: str, *, is_encrypted: bool) -> bool:
        try:
            address: Address = ipaddress.ip_address(text.partition("%")[0])
        except ValueError:
            return False
        inner = getattr(address, "ipv4_mapped", None) or address
        if any(inner in network for network in self._allowed):
            return True
        # What is sent in clear text could be read and changed on its way through the internet.
        return is_encrypted and not is_internal(address)


def _why_not(endpoint: Endpoint, found: Sequence[str], is_usable: Callable[..., bool]) -> str:
    if not endpoint.is_encrypted and any(is_usable(address, is_encrypted=True) for address in found):
        return f"{endpoint.text} is reached without encryption, which only networks in {_SETTING} may be."
    return f"{endpoint.text} is an internal address, which {_SETTING} does not allow."
