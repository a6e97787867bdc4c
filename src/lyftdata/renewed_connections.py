"""HTTP connections that trust the current certificates of a file, even after it is replaced."""

import contextlib
import ssl
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import httpx2

from lyftdata.watched_file import WatchedFile


class RenewedConnections:
    """
    An HTTP client that is recreated when its file of certificates has changed.

    A request in progress keeps its connection; the next one uses the new certificates. A file that cannot be read, or holds no
    certificate, changes nothing: it may be half written.

    Args:
        tls_ca: The file; None if the system's certificates are trusted, or none are needed.
        make: Creates the client.
    """

    def __init__(self, tls_ca: Path | None, *, make: Callable[[], httpx2.AsyncClient]) -> None:
        self._file = WatchedFile(tls_ca)
        self._make = make
        self._current = _Counted(make())

    @contextlib.asynccontextmanager
    async def use(self) -> AsyncIterator[httpx2.AsyncClient]:
        """Yield the client for one request."""
        await self._renew()
        counted = self._current
        counted.in_use += 1
        try:
            yield counted.http
        finally:
            counted.in_use -= 1
            if counted is not self._current and not counted.in_use:
                await counted.http.aclose()

    async def aclose(self) -> None:
        """Close every connection that is not in use."""
        await self._current.http.aclose()

    async def _renew(self) -> None:
        if not self._file.has_changed():
            return
        try:
            new = _Counted(self._make())
        except (OSError, ssl.SSLError):
            self._file.forget()
            return
        old, self._current = self._current, new
        if not old.in_use:
            await old.http.aclose()


class _Counted:
    """A client, and the number of requests that use it."""

    def __init__(self, http: httpx2.AsyncClient) -> None:
        self.http = http
        self.in_use = 0
