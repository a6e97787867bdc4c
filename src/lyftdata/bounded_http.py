"""
Sends requests to one Server: bounds each answer in size and time, and follows no redirect.

    request = Request("POST", f"{endpoint.server_url}/oauth2/token", form=form)
    with httpx2.Client(**connection_options(endpoint, user_agent="lyftdata-client/1")) as http:
        answer = send(http, request, within_s=endpoint.timeout_s)

A redirect would let an answer choose who gets the credential, or who is believed; an endless body would fill the memory.
An exchange of several requests is a generator that yields requests and is sent the answers; `run` and `arun` drive it, without
and with an event loop.
"""

import asyncio
import re
import ssl
import time
import urllib.parse
from collections.abc import Awaitable, Callable, Generator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import httpx2
import msgspec

from lyftdata.core.errors import InvalidInputError, SettingsError
from lyftdata.core.origins import is_loopback
from lyftdata.http_proxies import EnvironmentProxy, find_proxy

MAX_ANSWER_BYTES = 65_536
# RFC 9110, section 10.2.3. Six digits are eleven days; more is not plausible.
_SECONDS = re.compile("[0-9]{1,6}")
_UNKNOWN_CA = re.compile("self-signed certificate|unable to get (?:local )?issuer certificate")

T = TypeVar("T")


class UnreachableError(Exception):
    """
    No usable answer; the text names the address and the error, never what was sent.

    The library's own exception, if there was one, is the cause.
    """


class ServerEndpoint(msgspec.Struct, frozen=True, kw_only=True):
    """
    Where and how a Server is reached.

    Attributes:
        server_url: Scheme, host and port, without a trailing slash.
        timeout_s: Seconds; bounds one request as a whole.
        tls_ca: Certificates (PEM) to trust instead of the system's.
    """

    server_url: str
    timeout_s: float
    tls_ca: Path | None = None


class Request(msgspec.Struct, frozen=True):
    """
    One request.

    Attributes:
        method: HTTP method.
        url: The address; only a path if the client has a base URL.
        headers: Additional headers.
        form: Sent as `application/x-www-form-urlencoded`.
        json: Sent as `application/json`.
    """

    method: str
    url: str
    headers: Mapping[str, str] = {}
    form: Mapping[str, str] | None = None
    json: Mapping[str, Any] | None = None

    def __repr__(self) -> str:
        # Headers and bodies hold credentials.
        return f"Request({self.method} {self.url})"

    def options(self) -> dict[str, Any]:
        """Return the further arguments for `stream` of an HTTP client."""
        return {"headers": self.headers, "data": self.form, "json": self.json}


class Answer(msgspec.Struct, frozen=True):
    """
    An answer with its complete body of at most `MAX_ANSWER_BYTES`.

    Attributes:
        status: The HTTP status.
        headers: By case-insensitive name.
        body: As received.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes

    def __repr__(self) -> str:
        # The body may be a token.
        return f"Answer({self.status})"

    def json_object(self) -> dict[str, Any]:
        """Return the body if it is a JSON object, otherwise an empty one."""
        try:
            return msgspec.json.decode(self.body, type=dict[str, Any])
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return {}

    def retry_after_s(self) -> float | None:
        """Return the seconds in `Retry-After` (RFC 9110, section 10.2.3); a date or an invalid value counts as absent."""
        value = self.headers.get("retry-after", "")
        return float(value) if _SECONDS.fullmatch(value) else None


def checked_url(field: str, url: str, *, allow_http: bool) -> str:
    """
    Check the address of a Server or service; returns it without a trailing slash.

    Args:
        field: The argument's name, for errors.
        url: The address.
        allow_http: Allow plain http to another machine.

    Raises:
        InvalidInputError: Not an http(s) address without a path, or plain http to another machine that was not allowed.
    """
    text = url.strip().rstrip("/")
    try:
        parts = urllib.parse.urlsplit(text)
        fine = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
    except ValueError:
        parts, fine = urllib.parse.urlsplit(""), False
    if not fine or parts.path or parts.query or parts.fragment or parts.username or parts.password:
        raise InvalidInputError(
            field, f"{field} must be like https://lyftdata.example.com (no path, no query)."
        )
    if parts.scheme == "http" and not is_loopback(text) and not allow_http:
        raise InvalidInputError(
            field,
            f"{field} is plain http to another machine: an attacker on the network could let any caller in. "
            "Use https, or allow_http=True if you accept that.",
        )
    return text


def checked_ca(tls_ca: str | Path | None) -> Path | None:
    """
    Check a file of certificates to trust.

    Raises:
        InvalidInputError: It cannot be read, or holds no certificate. Checked when a verifier is created: later, every request would
            fail as if the Server were down.
    """
    if tls_ca is None:
        return None
    try:
        # As a path, so that an empty string does not mean the system's certificates.
        ssl.create_default_context(cafile=Path(tls_ca))
    except ssl.SSLError as error:
        raise InvalidInputError("tls_ca", f"tls_ca: {tls_ca} holds no certificates (PEM).") from error
    except OSError as error:
        raise InvalidInputError("tls_ca", f"tls_ca: {tls_ca} cannot be read: {error.strerror}.") from error
    return Path(tls_ca)


# --- connections ----------------------------------------------------------------------------------------


def goes_through_proxies(url: str) -> bool:
    """
    Return whether `https_proxy` and similar variables apply to requests to a Server.

    Not to this machine, nor over plain http: the proxy would read the credential, and could answer for the Server. With TLS it only
    forwards bytes.
    """
    return url.startswith("https:") and not is_loopback(url)


def proxy_for(url: str) -> EnvironmentProxy | None:
    """Return the proxy for requests to a Server; raises SettingsError if it cannot be used."""
    return find_proxy(url) if goes_through_proxies(url) else None


def tls_context(url: str, *, tls_ca: Path | None, insecure: bool = False) -> ssl.SSLContext | bool:
    """
    Return the context that checks the Server's certificate; False for plain http, which has none.

    Args:
        url: The Server.
        tls_ca: Certificates (PEM) to trust instead of the system's.
        insecure: Do not check the certificate.

    Raises:
        OSError: The file of certificates cannot be read, or holds none (`ssl.SSLError`).
    """
    if not url.startswith("https:"):
        return False
    context = ssl.create_default_context(cafile=tls_ca)
    if insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def connection_options(
    endpoint: ServerEndpoint,
    *,
    user_agent: str,
    transport: httpx2.BaseTransport | httpx2.AsyncBaseTransport | None = None,
) -> dict[str, Any]:
    """
    Return the constructor arguments of an HTTP client for this Server.

    Args:
        endpoint: The Server.
        user_agent: The client's User-Agent.
        transport: For tests: used instead of the network.

    Raises:
        UnreachableError: The environment names a proxy that cannot be used.
        OSError: The file of certificates cannot be read, or holds none (`ssl.SSLError`).
    """
    return {
        "timeout": httpx2.Timeout(endpoint.timeout_s),
        "follow_redirects": False,
        # No compression (decompression bomb): a small answer must not grow large after it was received.
        "headers": {"User-Agent": user_agent, "Accept-Encoding": "identity"},
        # Reading the system's certificates takes longer than everything else here, and a test's transport does not need them.
        "verify": tls_context(endpoint.server_url, tls_ca=endpoint.tls_ca) if transport is None else False,
        "transport": transport,
        "proxy": _proxy_url(endpoint.server_url) if transport is None else None,
        "trust_env": False,
    }


def _proxy_url(url: str) -> str | None:
    try:
        proxy = proxy_for(url)
    except SettingsError as error:
        raise UnreachableError(error.message) from error
    return None if proxy is None else proxy.url


# --- one request ----------------------------------------------------------------------------------------


def send(http: httpx2.Client, request: Request, *, within_s: float) -> Answer:
    """
    Send one request.

    Args:
        http: The client.
        request: The request.
        within_s: Seconds within which the complete answer must arrive.

    Raises:
        UnreachableError: No complete answer in time.
    """
    deadline_s = time.monotonic() + within_s
    try:
        with http.stream(request.method, request.url, **request.options()) as response:
            _check_plain(response)
            body = bytearray()
            for chunk in response.iter_bytes():
                body += chunk
                _check_size(len(body))
                if time.monotonic() > deadline_s:
                    raise UnreachableError(f"{request.url} did not answer within {within_s:g} s.")
            return Answer(response.status_code, response.headers, bytes(body))
    except (httpx2.HTTPError, httpx2.InvalidURL, httpx2.StreamError, ssl.SSLError, OSError) as error:
        raise unreachable(request.url, error) from error


async def asend(http: httpx2.AsyncClient, request: Request, *, within_s: float) -> Answer:
    """
    Send one request; see `send`.

    Raises:
        UnreachableError: No complete answer in time.
    """
    try:
        async with (
            asyncio.timeout(within_s),
            http.stream(request.method, request.url, **request.options()) as response,
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
        raise unreachable(request.url, error) from error


def _check_size(size: int) -> None:
    if size > MAX_ANSWER_BYTES:
        raise UnreachableError(f"The answer is larger than {MAX_ANSWER_BYTES} bytes.")


def _check_plain(response: httpx2.Response) -> None:
    if response.headers.get("content-encoding", "identity") != "identity":
        raise UnreachableError("The answer is compressed, which was not asked for.")


def unreachable(url: str, error: Exception) -> UnreachableError:
    """Translate an exception of the HTTP library."""
    detail = str(error) or type(error).__name__
    # The usual fault of a first use if the Server's certificate is from a private CA.
    remedy = " Give that CA's certificate as tls_ca=." if _UNKNOWN_CA.search(detail) else ""
    return UnreachableError(f"{url}: {detail}{remedy}")


# --- exchanges of several requests ----------------------------------------------------------------------


def run(steps: Generator[Request, Answer, T], send_one: Callable[[Request], Answer]) -> T:
    """Run an exchange to its end; return its result."""
    try:
        request = next(steps)
        while True:
            request = steps.send(send_one(request))
    except StopIteration as end:
        result: T = end.value
        return result


async def arun(steps: Generator[Request, Answer, T], send_one: Callable[[Request], Awaitable[Answer]]) -> T:
    """Run an exchange to its end; return its result."""
    request = next(steps)
    while True:
        answer = await send_one(request)
        try:
            request = steps.send(answer)
        except StopIteration as end:
            result: T = end.value
            return result
