"""
Finds the proxy for a Server in the environment: `HTTPS_PROXY`, `ALL_PROXY` and `NO_PROXY`.

Only the proxy that would be used is checked. An unsupported proxy (SOCKS, FTP) does not matter to a program whose Server is in
`NO_PROXY`; the HTTP library by itself would raise an exception in both cases.
"""

import os
import urllib.request
from urllib.parse import urlsplit

import msgspec

from lyftdata.core.errors import SettingsError
from lyftdata.core.text import clean_text


class EnvironmentProxy(msgspec.Struct, frozen=True):
    """A proxy: its URL, which may hold a password, and the variable that names it."""

    url: str
    variable: str

    @property
    def address(self) -> str:
        """Return host and port, which may be shown."""
        return clean_text(urlsplit(self.url).netloc.rpartition("@")[2], 100)

    def __repr__(self) -> str:
        return f"EnvironmentProxy({self.address!r}, {self.variable!r})"


def find_proxy(url: str) -> EnvironmentProxy | None:
    """
    Return the proxy for requests to a URL, None if they go there directly.

    Raises:
        SettingsError: It is not an HTTP proxy, or not an address; names the variable.
    """
    parts = urlsplit(url)
    proxies = urllib.request.getproxies()
    scheme = next((name for name in (parts.scheme, "all") if proxies.get(name)), None)
    if scheme is None or urllib.request.proxy_bypass(parts.netloc.rpartition("@")[2]):
        return None
    given = proxies[scheme]
    proxy = EnvironmentProxy(given if "://" in given else f"http://{given}", _variable(scheme))
    _check(proxy, host=parts.hostname or "")
    return proxy


def _variable(scheme: str) -> str:
    """Return the variable that was used: Python prefers the lower-case one."""
    lower = f"{scheme}_proxy"
    return lower if os.environ.get(lower) else lower.upper()


def _check(proxy: EnvironmentProxy, *, host: str) -> None:
    try:
        parts = urlsplit(proxy.url)
        is_address = bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_address = False
        parts = urlsplit("")
    name_it = f"Or name the Server's host in NO_PROXY to go there directly: NO_PROXY={clean_text(host, 100)}"
    if parts.scheme and parts.scheme not in {"http", "https"}:
        raise SettingsError(
            [
                f"{proxy.variable}: a proxy of the kind {clean_text(parts.scheme, 20)}:// cannot be used: name an http:// "
                f"or https:// proxy. {name_it}"
            ]
        )
    if not is_address:
        raise SettingsError(
            [f"{proxy.variable}: must be the address of a proxy, with its scheme, host and port. {name_it}"]
        )
