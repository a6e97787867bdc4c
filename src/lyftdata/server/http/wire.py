"""Reading requests and writing answers, the same way for every endpoint that Workers call."""

import asyncio
import base64
import functools
import ipaddress
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any, Final, cast
from urllib.parse import parse_qsl, unquote_plus

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message, Receive, Scope

from lyftdata.core.errors import LyftdataError
from lyftdata.core.refusals import MissingCredentialsError

MAX_BODY_BYTES = 16_384
_BODY_WITHIN_S = 10.0
_MAX_FORM_FIELDS = 20
_TARGETS = frozenset({"resource", "audience"})
_NOT_IN_URL = _TARGETS | {
    "grant_type",
    "client_id",
    "client_secret",
    "client_assertion_type",
    "client_assertion",
    "scope",
    "token",
    "username",
    "password",
}
_NO_CONTENT = 204
NONCE_HEADER = "Lyftdata-Nonce"
# Tokens and credentials must not be kept by anything between (RFC 6749, section 5.1).
NO_STORE = {"Cache-Control": "no-store", "Pragma": "no-cache"}
_JSON = (b"content-type", b"application/json")
RAW_NO_STORE = ((b"cache-control", b"no-store"), (b"pragma", b"no-cache"))


class OAuthError(LyftdataError):
    """
    A request that breaks the protocol (RFC 6749, section 5.2; RFC 7591, section 3.2.2).

    Args:
        error: The standard's error code, for example `invalid_request`.
        description: What is wrong, in ASCII without quotes or backslashes.
        status: HTTP status.
    """

    def __init__(self, error: str, description: str, *, status: int = 400) -> None:
        super().__init__(description)
        self.error: Final = error
        self.status: Final = status


class RawResponse(Response):
    """
    An answer whose headers are bytes already, for the paths that every Worker takes all the time.

    Starlette lower-cases and encodes each header of each answer again, which takes longer than all that a token needs
    besides its signature.

    Args:
        status: HTTP status.
        headers: Names in lower case; the body's length is added, and must be left out, unless the status has no body.
        body: The body.
    """

    def __init__(  # Starlette's own is not called: doing its work once more is what this is for.
        self, status: int, headers: Sequence[tuple[bytes, bytes]], body: bytes = b""
    ) -> None:
        self.status_code = status
        self.body = body
        self.background = None
        self.raw_headers = [*headers]
        if status != _NO_CONTENT:
            self.raw_headers.append((b"content-length", b"%d" % len(body)))


def json_response(value: object, *, status: int = 200, headers: Mapping[str, str] = NO_STORE) -> Response:
    """Return a JSON answer that nobody keeps."""
    raw = RAW_NO_STORE if headers is NO_STORE else _raw(headers)
    return RawResponse(status, (_JSON, *raw), msgspec.json.encode(value))


def _raw(headers: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    return [(name.lower().encode("ascii"), value.encode("latin-1")) for name, value in headers.items()]


def oauth_error_response(error: OAuthError, *, headers: Mapping[str, str] = {}) -> Response:
    """Return a protocol error as the RFCs have it."""
    body = {"error": error.error, "error_description": error.message}
    return json_response(body, status=error.status, headers={**NO_STORE, **headers})


ErrorPage = Callable[[Scope, LyftdataError], Response | None]
"""Makes the page for an error that is answered before a page is reached; None for a request that wants no page."""


def no_page(_scope: Scope, _error: LyftdataError) -> Response | None:
    """Make none: where there are no pages."""
    return None


def temporarily_unavailable(description: str, *, retry_after_s: int, close: bool = False) -> Response:
    """Return 503: the Worker asks again after so many seconds."""
    return RawResponse(503, *_unavailable(description, retry_after_s, close))


# A Server that stops says the same to thousands at once.
@functools.lru_cache(maxsize=64)
def _unavailable(
    description: str,
    retry_after_s: int,
    close: bool,  # noqa: FBT001 - one argument of a cache's key
) -> tuple[tuple[tuple[bytes, bytes], ...], bytes]:
    headers = {**NO_STORE, "Retry-After": str(retry_after_s)} | ({"Connection": "close"} if close else {})
    body = {"error": "temporarily_unavailable", "error_description": description}
    return (_JSON, *_raw(headers)), msgspec.json.encode(body)


async def read_body(request: Request, *, at_most: int = MAX_BODY_BYTES) -> bytes:
    """
    Read a request's body, bounded in size (16 KiB unless said otherwise) and time.

    Raises:
        OAuthError: 413 when it is larger, 408 when it takes longer than ten seconds.
    """
    first = _already_there(request.receive)
    if first is not None and not first.get("more_body", False):
        return bytes(_add(bytearray(), first, at_most))
    try:
        async with asyncio.timeout(_BODY_WITHIN_S):
            return await _read_on(request.receive, first, at_most)
    except TimeoutError:
        raise OAuthError("invalid_request", "The body took too long to arrive.", status=408) from None


def _already_there(receive: Receive) -> Message | None:
    """
    Return what has come of the body, or None if that must be waited for.

    A small body comes in one piece with its head. Starting a clock for what is there takes longer than reading the
    whole form. Asking and going away loses nothing: who waits is taken off the list.
    """
    asking = cast("Generator[Any, None, Message]", receive().__await__())
    try:
        next(asking)
    except StopIteration as answered:
        return answered.value  # type: ignore[no-any-return]  # what `receive` answers with
    asking.close()
    return None


async def _read_on(receive: Receive, first: Message | None, at_most: int) -> bytes:
    body = bytearray()
    message = await receive() if first is None else first
    _add(body, message, at_most)
    while message.get("more_body", False):
        message = await receive()
        _add(body, message, at_most)
    return bytes(body)


def _add(body: bytearray, message: Message, at_most: int) -> bytearray:
    """Add what has come to a body."""
    if message["type"] != "http.request":
        raise OAuthError("invalid_request", "The client went away.", status=400)
    body += message.get("body", b"")
    if len(body) > at_most:
        raise OAuthError("invalid_request", f"The body is larger than {at_most} bytes.", status=413)
    return body


async def read_form(request: Request) -> dict[str, str]:
    """
    Read `application/x-www-form-urlencoded` parameters (RFC 6749, section 3.2).

    A parameter without a value is left out, as if it had not been sent. None may come twice.

    Raises:
        OAuthError: Not a form, not UTF-8, too many fields, a parameter that comes twice or stands in the URL.
    """
    _check_query(request.scope["query_string"])
    kinds = header_values(request, b"content-type")
    if not kinds or kinds[0].partition(b";")[0].strip().lower() != b"application/x-www-form-urlencoded":
        raise OAuthError("invalid_request", "The body must be application/x-www-form-urlencoded.")
    pairs = _parse_form(await read_body(request))
    _check_repeated([name for name, _ in pairs])
    return {name: value for name, value in pairs if value}


def _parse_form(body: bytes) -> list[tuple[str, str]]:
    try:
        return parse_qsl(
            body.decode("ascii"), keep_blank_values=True, max_num_fields=_MAX_FORM_FIELDS, errors="strict"
        )
    except ValueError:
        raise OAuthError("invalid_request", "The form cannot be read.") from None


def _check_repeated(names: Sequence[str]) -> None:
    """Refuse a parameter that comes twice, also where one of the two has no value."""
    if len(set(names)) == len(names):
        return
    repeated = {name for name in names if names.count(name) > 1}
    if repeated <= _TARGETS:
        # RFC 8707 allows several, and has this code for a server that does not.
        raise OAuthError("invalid_target", "A token is for one resource: name one only.")
    raise OAuthError("invalid_request", "A parameter comes twice.")


def _check_query(query: bytes) -> None:
    """
    Refuse OAuth parameters in the URL (RFC 6749, section 2.3.1): there they would have no effect.

    A credential there is in the logs of every proxy by now, and a token without the `resource` named there would be
    for this Server.
    """
    if query and any(name in _NOT_IN_URL for name, _ in parse_qsl(query.decode("latin-1"))):
        raise OAuthError("invalid_request", "Parameters belong in the body, not in the URL.")


async def read_json(request: Request) -> dict[str, Any]:
    """
    Read a JSON object.

    Raises:
        OAuthError: Not JSON, or not an object.
    """
    body = await read_body(request)
    try:
        return msgspec.json.decode(body, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise OAuthError("invalid_request", "The body must be a JSON object.") from None


def client_address(scope: Mapping[str, Any]) -> str:
    """Return the caller's IP address; uvicorn has put the real one there for trusted proxies."""
    return canonical_address((scope.get("client") or ("", 0))[0])


@functools.lru_cache(maxsize=4_096)
def canonical_address(host: str) -> str:
    """Return one spelling of an address, without a zone; a mapped IPv4 address is that address."""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return "unknown"
    mapped = getattr(address, "ipv4_mapped", None)
    return str(mapped or address)


def header_values(request: Request, name: bytes) -> list[bytes]:
    """
    Return every value of a header, as it came.

    Args:
        request: The request; its server has put the names in lower case.
        name: In lower case.
    """
    return [value for key, value in request.scope["headers"] if key == name]


def bearer_token(request: Request) -> str:
    """
    Return the bearer token of a request (RFC 6750, section 2.1: the header, never the URL).

    Raises:
        MissingCredentialsError: None, more than one, or another scheme.
    """
    values = header_values(request, b"authorization")
    scheme, _, token = values[0].decode("latin-1").partition(" ") if len(values) == 1 else ("", "", "")
    token = token.strip()
    if scheme.lower() != "bearer" or not token:
        raise MissingCredentialsError
    return token


def basic_credentials(request: Request) -> tuple[str, str] | None:
    """
    Return client ID and secret of `client_secret_basic` (RFC 6749, section 2.3.1), or None without the header.

    Base64 without its padding is accepted: some clients leave it out, and what it says is the same.

    Raises:
        OAuthError: The header is there, but cannot be read.
    """
    values = header_values(request, b"authorization")
    if not values:
        return None
    scheme, _, encoded = values[0].decode("latin-1").partition(" ")
    if len(values) > 1 or scheme.lower() != "basic":
        raise OAuthError("invalid_request", "Use one Authorization header, of scheme Basic.")
    try:
        decoded = base64.b64decode(_padded(encoded.strip()), validate=True).decode("utf-8")
    except ValueError:
        raise OAuthError("invalid_request", "The Authorization header cannot be read.") from None
    client_id, separator, secret = decoded.partition(":")
    if not separator:
        raise OAuthError("invalid_request", "The Authorization header cannot be read.")
    return unquote_plus(client_id), unquote_plus(secret)


def _padded(encoded: str) -> str:
    bare = encoded.rstrip("=")
    return bare + "=" * (-len(bare) % 4)
