"""
Fetches the Server's keys for a verifier, and sets up its connections.

    1  GET {server}/.well-known/oauth-authorization-server    RFC 8414; its issuer must be the configured one
    2  GET {jwks_uri}                                         RFC 7517

The online check of a token is in `_online`.
"""

import urllib.parse
from collections.abc import Generator
from http import HTTPStatus
from typing import Any

import httpx2
import msgspec

import lyftdata
from lyftdata.bounded_http import (
    Answer,
    Request,
    ServerEndpoint,
    UnreachableError,
    arun,
    asend,
    connection_options,
    run,
    send,
    unreachable,
)
from lyftdata.core.origins import origin_of
from lyftdata.core.structs import prepare_structs
from lyftdata.core.text import clean_text
from lyftdata.verify._keys import PublishedKeys, read_jwks
from lyftdata.verify.errors import KeysUnavailableError
from lyftdata.watched_file import WatchedFile

_USER_AGENT = f"lyftdata-verify/{lyftdata.__version__}"


class VerifierEndpoint(ServerEndpoint, frozen=True, kw_only=True):
    """
    The Server's address and issuer.

    Attributes:
        issuer: The `iss` in its tokens and in its metadata.
    """

    issuer: str


class _Metadata(msgspec.Struct):
    issuer: str
    jwks_uri: str


prepare_structs(_Metadata)


def fetch_keys(endpoint: VerifierEndpoint) -> Generator[Request, Answer, PublishedKeys]:
    """
    Fetch the keys without I/O of its own: yields requests, is sent the answers, returns the keys.

    Raises:
        KeysUnavailableError: An answer cannot be used.
    """
    metadata = yield Request("GET", f"{endpoint.server_url}/.well-known/oauth-authorization-server")
    jwks = yield Request("GET", _jwks_url(metadata, endpoint))
    if jwks.status != HTTPStatus.OK:
        raise KeysUnavailableError(f"The Server answered {jwks.status} when asked for its keys.")
    return read_jwks(jwks.body, cache_control=jwks.headers.get("cache-control", ""))


def _jwks_url(answer: Answer, endpoint: VerifierEndpoint) -> str:
    if answer.status != HTTPStatus.OK:
        raise KeysUnavailableError(f"The Server answered {answer.status} when asked for its metadata.")
    try:
        metadata = msgspec.json.decode(answer.body, type=_Metadata)
        origin = origin_of(metadata.jwks_uri)
        path = urllib.parse.urlsplit(metadata.jwks_uri).path
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise KeysUnavailableError("The Server's metadata cannot be read.") from error
    if metadata.issuer != endpoint.issuer:
        # Mix-up: otherwise one Server could publish keys for another one's tokens (RFC 8414, section 3.3).
        raise KeysUnavailableError(
            f"The Server at {endpoint.server_url} calls itself {clean_text(metadata.issuer, 200)}, "
            f"and the issuer asked for is {endpoint.issuer}: they must be the same."
        )
    # Key injection, SSRF: metadata that was tampered with must not send this service to a host of the attacker's choice for its
    # keys. RFC 8414 would permit another host; nothing needs one here.
    if origin != origin_of(endpoint.issuer):
        raise KeysUnavailableError("The Server's metadata names keys at another address than its own.")
    # Where the Server has another address for this service (inside a cluster, say), the keys are there too.
    return endpoint.server_url + path


def get_keys(endpoint: VerifierEndpoint, *, transport: httpx2.BaseTransport | None) -> PublishedKeys:
    """
    Fetch the Server's keys.

    The HTTP client is closed afterwards: no socket stays open until the next fetch, and processes that fork share none.

    Raises:
        KeysUnavailableError: They cannot be fetched.
    """
    within_s = endpoint.timeout_s / 2
    try:
        with httpx2.Client(
            **connection_options(endpoint, user_agent=_USER_AGENT, transport=transport)
        ) as http:
            return run(fetch_keys(endpoint), lambda request: send(http, request, within_s=within_s))
    except (UnreachableError, OSError) as error:  # OSError: the file of certificates
        raise KeysUnavailableError(f"The Server's keys cannot be fetched: {error}") from error


async def aget_keys(
    endpoint: VerifierEndpoint, *, transport: httpx2.AsyncBaseTransport | None
) -> PublishedKeys:
    """
    Fetch the Server's keys; see `get_keys`.

    Raises:
        KeysUnavailableError: They cannot be fetched.
    """
    within_s = endpoint.timeout_s / 2
    try:
        async with httpx2.AsyncClient(
            **connection_options(endpoint, user_agent=_USER_AGENT, transport=transport)
        ) as http:
            return await arun(fetch_keys(endpoint), lambda request: asend(http, request, within_s=within_s))
    except (UnreachableError, OSError) as error:
        raise KeysUnavailableError(f"The Server's keys cannot be fetched: {error}") from error


def online_options(
    endpoint: ServerEndpoint,
    transport: httpx2.BaseTransport | httpx2.AsyncBaseTransport | None,
    tls_ca: WatchedFile,
    *,
    is_first: bool,
) -> dict[str, Any] | None:
    """
    Return the options of a new client for the online check, or None to keep using the present one.

    Args:
        endpoint: The Server.
        transport: For tests: used instead of the network.
        tls_ca: The certificates to trust: the client is replaced when they change.
        is_first: Whether there is no client yet.

    Raises:
        UnreachableError: There is no client yet, and the certificates cannot be read.
    """
    if not tls_ca.has_changed() and not is_first:
        return None
    try:
        return connection_options(endpoint, user_agent=_USER_AGENT, transport=transport)
    except OSError as error:  # ssl.SSLError is one
        tls_ca.forget()
        if is_first:
            raise unreachable(str(endpoint.tls_ca), error) from error
        return None  # half written: keep using the certificates that were read last
