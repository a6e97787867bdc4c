"""
What a verifier asks the Server, without a socket: addresses out, answers in.

    1  GET {server}/.well-known/oauth-authorization-server    RFC 8414; its issuer must be ours
    2  GET {jwks_uri}                                         RFC 7517

What is asked about a token, online, is in `_online`.
"""

import urllib.parse
from collections.abc import Generator, Mapping
from http import HTTPStatus
from pathlib import Path

import msgspec

from lyftdata.core.errors import InvalidInputError
from lyftdata.core.origins import is_loopback, origin_of
from lyftdata.core.text import clean_text
from lyftdata.verify._keys import PublishedKeys, read_jwks
from lyftdata.verify.errors import KeysUnavailableError


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """
    Where the Server is and how it is asked.

    `issuer` is what it calls itself, `server_url` where it is reached; `timeout_s` bounds one whole fetch.
    """

    issuer: str
    server_url: str
    timeout_s: float
    tls_ca: Path | None = None


class Answer(msgspec.Struct, frozen=True):
    """An answer of the Server's, its body bounded and whole."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class _Metadata(msgspec.Struct):
    issuer: str
    jwks_uri: str


def checked_url(field: str, url: str, *, allow_http: bool) -> str:
    """
    Return the address of a Server or service, without a trailing slash.

    Raises:
        InvalidInputError: No http(s) address without path, or plain http to another machine that nobody allowed.
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
            f"{field} is plain http to another machine: whoever sits on the way could let anybody in. "
            "Use https, or allow_http=True if you accept that.",
        )
    return text


def fetch_keys(place: Place) -> Generator[str, Answer, PublishedKeys]:
    """
    Ask for the keys: yields the addresses to get, takes the answers, returns the keys.

    Raises:
        KeysUnavailableError: An answer is not what it should be.
    """
    metadata = yield f"{place.server_url}/.well-known/oauth-authorization-server"
    jwks = yield _jwks_url(metadata, place)
    if jwks.status != HTTPStatus.OK:
        raise KeysUnavailableError(f"The Server answered {jwks.status} when asked for its keys.")
    return read_jwks(jwks.body, cache_control=jwks.headers.get("cache-control", ""))


def _jwks_url(answer: Answer, place: Place) -> str:
    if answer.status != HTTPStatus.OK:
        raise KeysUnavailableError(f"The Server answered {answer.status} when asked for its metadata.")
    try:
        metadata = msgspec.json.decode(answer.body, type=_Metadata)
        origin = origin_of(metadata.jwks_uri)
        path = urllib.parse.urlsplit(metadata.jwks_uri).path
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise KeysUnavailableError("The Server's metadata cannot be read.") from error
    if metadata.issuer != place.issuer:
        # RFC 8414, section 3.3: otherwise one Server could answer for another.
        raise KeysUnavailableError(
            f"The Server at {place.server_url} calls itself {clean_text(metadata.issuer, 200)}, "
            f"and the issuer asked for is {place.issuer}: they must be the same."
        )
    if origin != origin_of(place.issuer):
        raise KeysUnavailableError("The Server's metadata names keys at another address than its own.")
    # Reached by another address than the Server's own (inside a cluster, say), the keys are there too.
    return place.server_url + path
