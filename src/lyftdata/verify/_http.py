"""
Sockets: one request, its answer bounded in size and time, no redirect followed.

A redirect would let an answer choose who is believed; a body without end would fill the memory.
"""

import asyncio
import re
import ssl
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import httpx2

import lyftdata
from lyftdata.core.errors import InvalidInputError, LyftdataError, SettingsError
from lyftdata.core.origins import is_loopback
from lyftdata.http_proxies import find_proxy
from lyftdata.verify._keys import PublishedKeys
from lyftdata.verify._server import Answer, Place, fetch_keys
from lyftdata.verify.errors import KeysUnavailableError
from lyftdata.watched_file import WatchedFile

MAX_ANSWER_BYTES = 65_536
# No compression: a small answer must not grow large once it is here.
_HEADERS = {"User-Agent": f"lyftdata-verify/{lyftdata.__version__}", "Accept-Encoding": "identity"}

_UNKNOWN_CA = re.compile("self-signed certificate|unable to get (?:local )?issuer certificate")
ErrorT = TypeVar("ErrorT", bound=LyftdataError)


class UnreachableError(Exception):
    """No usable answer; the text names the address and the error, never what was sent."""


def checked_ca(tls_ca: str | Path | None) -> Path | None:
    """
    Return a file of certificates to trust.

    Raises:
        InvalidInputError: It cannot be read, or holds no certificate. Found when a verifier is made: later, every
            request would be answered as if the Server were down.
    """
    if tls_ca is None:
        return None
    try:
        # As a path, so that an empty string is not taken for the system's certificates.
        ssl.create_default_context(cafile=Path(tls_ca))
    except ssl.SSLError as error:
        raise InvalidInputError("tls_ca", f"tls_ca: {tls_ca} holds no certificates (PEM).") from error
    except OSError as error:
        raise InvalidInputError("tls_ca", f"tls_ca: {tls_ca} cannot be read: {error.strerror}.") from error
    return Path(tls_ca)


def client_options(
    place: Place, transport: httpx2.BaseTransport | httpx2.AsyncBaseTransport | None
) -> dict[str, Any]:
    """
    Return how a client for this Server is made.

    Raises:
        UnreachableError: The environment names a proxy that cannot be used.
    """
    secure = place.server_url.startswith("https:")
    return {
        "timeout": httpx2.Timeout(place.timeout_s),
        "follow_redirects": False,
        "headers": _HEADERS,
        "verify": ssl.create_default_context(cafile=place.tls_ca) if secure else False,
        "transport": transport,
        "proxy": _proxy_url(place.server_url) if transport is None else None,
        "trust_env": False,
    }


def online_options(
    place: Place,
    transport: httpx2.BaseTransport | httpx2.AsyncBaseTransport | None,
    tls_ca: WatchedFile,
    *,
    is_first: bool,
) -> dict[str, Any] | None:
    """
    Return how the client of the online check is made, or None if the one that there is serves on.

    Args:
        place: The Server.
        transport: Put in the place of the network by tests.
        tls_ca: The certificates to trust: a client that keeps connections is made again when they were replaced.
        is_first: Whether there is no client yet.

    Raises:
        UnreachableError: There is no client yet, and the certificates cannot be read.
    """
    if not tls_ca.has_changed() and not is_first:
        return None
    try:
        return client_options(place, transport)
    except OSError as error:  # ssl.SSLError is one
        tls_ca.forget()
        if is_first:
            raise _unreachable(str(place.tls_ca), error) from error
        return None  # half written: the certificates that were read last hold


def _proxy_url(url: str) -> str | None:
    # A proxy in the environment carries TLS, and reads plain http: the latter goes to loopback, or is asked for.
    if not url.startswith("https:") or is_loopback(url):
        return None
    try:
        proxy = find_proxy(url)
    except SettingsError as error:
        raise UnreachableError(error.message) from error
    return None if proxy is None else proxy.url


def get(
    http: httpx2.Client, url: str, *, within_s: float, headers: Mapping[str, str] | None = None
) -> Answer:
    """
    Ask once.

    Raises:
        UnreachableError: No whole answer in time.
    """
    return request(http, "GET", url, within_s=within_s, headers=headers)


def request(
    http: httpx2.Client,
    method: str,
    url: str,
    *,
    within_s: float,
    headers: Mapping[str, str] | None = None,
    data: Mapping[str, str] | None = None,
) -> Answer:
    """
    Ask once.

    Raises:
        UnreachableError: No whole answer in time.
    """
    deadline_s = time.monotonic() + within_s
    try:
        with http.stream(method, url, headers=headers, data=data) as response:
            _check_plain(response)
            body = bytearray()
            for chunk in response.iter_bytes():
                body += chunk
                _check_size(len(body))
                if time.monotonic() > deadline_s:
                    raise UnreachableError(f"{url} did not answer within {within_s:g} s.")
            return Answer(response.status_code, response.headers, bytes(body))
    except (httpx2.HTTPError, httpx2.InvalidURL, httpx2.StreamError, ssl.SSLError, OSError) as error:
        raise _unreachable(url, error) from error


async def aget(
    http: httpx2.AsyncClient, url: str, *, within_s: float, headers: Mapping[str, str] | None = None
) -> Answer:
    """
    Ask once.

    Raises:
        UnreachableError: No whole answer in time.
    """
    return await arequest(http, "GET", url, within_s=within_s, headers=headers)


async def arequest(
    http: httpx2.AsyncClient,
    method: str,
    url: str,
    *,
    within_s: float,
    headers: Mapping[str, str] | None = None,
    data: Mapping[str, str] | None = None,
) -> Answer:
    """
    Ask once.

    Raises:
        UnreachableError: No whole answer in time.
    """
    try:
        async with (
            asyncio.timeout(within_s),
            http.stream(method, url, headers=headers, data=data) as response,
        ):
            _check_plain(response)
            body = bytearray()
            async for chunk in response.aiter_bytes():
                body += chunk
                _check_size(len(body))
            return Answer(response.status_code, response.headers, bytes(body))
    except (
        httpx2.HTTPError,
        httpx2.InvalidURL,
        httpx2.StreamError,
        ssl.SSLError,
        OSError,  # TimeoutError is one
    ) as error:
        raise _unreachable(url, error) from error


def get_keys(place: Place, *, transport: httpx2.BaseTransport | None) -> PublishedKeys:
    """
    Fetch the Server's keys.

    The client lives for this alone: it holds no socket until the next time, and a process that forks shares none.

    Raises:
        KeysUnavailableError: They cannot be had.
    """
    try:
        steps = fetch_keys(place)
        with httpx2.Client(**client_options(place, transport)) as http:
            url = next(steps)
            while True:
                url = steps.send(get(http, url, within_s=place.timeout_s / 2))
    except StopIteration as end:
        keys: PublishedKeys = end.value
        return keys
    except (UnreachableError, OSError) as error:  # OSError: the file of certificates
        raise KeysUnavailableError(f"The Server's keys cannot be fetched: {error}") from error


async def aget_keys(place: Place, *, transport: httpx2.AsyncBaseTransport | None) -> PublishedKeys:
    """
    Fetch the Server's keys; see `get_keys`.

    Raises:
        KeysUnavailableError: They cannot be had.
    """
    try:
        steps = fetch_keys(place)
        async with httpx2.AsyncClient(**client_options(place, transport)) as http:
            url = next(steps)
            while True:
                answer = await aget(http, url, within_s=place.timeout_s / 2)
                try:
                    url = steps.send(answer)
                except StopIteration as end:
                    keys: PublishedKeys = end.value
                    return keys
    except (UnreachableError, OSError) as error:
        raise KeysUnavailableError(f"The Server's keys cannot be fetched: {error}") from error


def _check_size(size: int) -> None:
    if size > MAX_ANSWER_BYTES:
        raise UnreachableError(f"The answer is larger than {MAX_ANSWER_BYTES} bytes.")


def _check_plain(response: httpx2.Response) -> None:
    if response.headers.get("content-encoding", "identity") != "identity":
        raise UnreachableError("The answer is compressed, which was not asked for.")


def _unreachable(url: str, error: Exception) -> UnreachableError:
    detail = str(error) or type(error).__name__
    # The fault of a first use where the Server's certificate is from a CA of one's own.
    remedy = " Give that CA's certificate as tls_ca=." if _UNKNOWN_CA.search(detail) else ""
    return UnreachableError(f"{url}: {detail}{remedy}")
