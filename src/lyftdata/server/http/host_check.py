"""
Checks the Host of browsers' requests (DNS rebinding).

A page of another site can let its own name resolve to this Server, and then counts as the same site to a browser: it could guess
passwords from the operator's own address. `Host` names that site in such a request. An IP address cannot be redirected that way, and
other programs do not run pages: only names sent by browsers are checked.
"""

from collections.abc import Sequence
from urllib.parse import urlsplit

from starlette.requests import Request

from lyftdata.core.errors import ForbiddenError
from lyftdata.core.origins import is_ip_address

_BROWSER_HEADERS = ("sec-fetch-site", "origin")


class UnknownHostError(ForbiddenError):
    """A browser used a name that is not this Server's."""

    code = "unknown_host"


class HostCheck:
    """
    Checks requests for the names of this Server.

    Args:
        issuers: Its public URL, and previous ones.
        bind_host: The name or address it listens on.
    """

    def __init__(self, *, issuers: Sequence[str], bind_host: str) -> None:
        self._issuer = issuers[0]
        self._names = {"localhost", bind_host.lower(), *(urlsplit(url).hostname for url in issuers)}

    def check(self, request: Request) -> None:
        """
        Reject a request for a name that is not this Server's.

        Raises:
            UnknownHostError: The name is neither that of a public URL or the bind address, nor localhost, nor an IP address.
        """
        host = _hostname(request.headers.get("host", ""))
        if host not in self._names and not is_ip_address(host):
            raise UnknownHostError(
                "This Server is not known by that name.",
                hint=f"Open it at {self._issuer} (LYFTDATA_PUBLIC_URL).",
            )

    def check_browser(self, request: Request) -> None:
        """Like `check`, but only for requests from a page in a browser."""
        if any(name in request.headers for name in _BROWSER_HEADERS):
            self.check(request)


def _hostname(host: str) -> str:
    """Return the name or address in a Host header, without port and brackets."""
    if host.startswith("["):
        return host[1:].partition("]")[0].lower()
    return host.partition(":")[0].lower()
