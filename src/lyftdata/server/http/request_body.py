"""Reads a request's body as a form or as JSON, with limits on size and time."""

import asyncio
from collections.abc import Generator, Sequence
from typing import Any, cast
from urllib.parse import parse_qsl

import msgspec
from starlette.requests import Request
from starlette.types import Message, Receive

from lyftdata.server.http.authorization_header import header_values
from lyftdata.server.http.oauth_errors import OAuthError

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


async def read_body(request: Request, *, at_most: int = MAX_BODY_BYTES) -> bytes:
    """
    Read a request's body, limited in size (16 KiB by default) and time.

    Raises:
        OAuthError: 413 if it is larger, 408 if it takes longer than ten seconds.
    """
    first = _already_there(request.receive)
    if first is not None and not first.get("more_body", False):
        return bytes(_add(bytearray(), first, at_most))
    try:
        async with asyncio.timeout(_BODY_WITHIN_S):
            return await _read_rest(request.receive, first, at_most)
    except TimeoutError:
        raise OAuthError("invalid_request", "The body took too long to arrive.", status=408) from None


def _already_there(receive: Receive) -> Message | None:
    """
    Return the part of the body that has already arrived, or None if it has not.

    A small body arrives together with the head, and starting a timer for it takes longer than parsing the whole form.
    Nothing is lost by giving up a pending `receive`: it is cancelled.
    """
    asking = cast("Generator[Any, None, Message]", receive().__await__())
    try:
        next(asking)
    except StopIteration as answered:
        return answered.value  # type: ignore[no-any-return]  # what `receive` answers with
    asking.close()
    return None


async def _read_rest(receive: Receive, first: Message | None, at_most: int) -> bytes:
    body = bytearray()
    message = await receive() if first is None else first
    _add(body, message, at_most)
    while message.get("more_body", False):
        message = await receive()
        _add(body, message, at_most)
    return bytes(body)


def _add(body: bytearray, message: Message, at_most: int) -> bytearray:
    """Append received data to a body."""
    if message["type"] != "http.request":
        raise OAuthError("invalid_request", "The client went away.", status=400)
    body += message.get("body", b"")
    if len(body) > at_most:
        raise OAuthError("invalid_request", f"The body is larger than {at_most} bytes.", status=413)
    return body


async def read_form(request: Request) -> dict[str, str]:
    """
    Read `application/x-www-form-urlencoded` parameters (RFC 6749, section 3.2).

    A parameter with an empty value counts as not sent. No parameter may be repeated.

    Raises:
        OAuthError: Not a form, not UTF-8, too many fields, a repeated parameter, or parameters in the URL.
    """
    _check_query(request.scope["query_string"])
    kinds = header_values(request, b"content-type")
    if not kinds or kinds[0].partition(b";")[0].strip().lower() != b"application/x-www-form-urlencoded":
        raise OAuthError("invalid_request", "The body must be application/x-www-form-urlencoded.")
    pairs = parse_form(await read_body(request))
    _check_repeated([name for name, _ in pairs])
    return {name: value for name, value in pairs if value}


def parse_form(body: bytes) -> list[tuple[str, str]]:
    """
    Parse the parameters of a form, in order.

    Raises:
        OAuthError: Not ASCII, an encoded value that is not UTF-8, or more than 20 fields.
    """
    try:
        fields = body.decode("ascii").split("&", _MAX_FORM_FIELDS)
        if len(fields) > _MAX_FORM_FIELDS:
            raise ValueError("too many fields")
        return [_parse_field(field) for field in fields if field]
    except ValueError:
        raise OAuthError("invalid_request", "The form cannot be read.") from None


def _parse_field(field: str) -> tuple[str, str]:
    """Return a parameter's name and value; most need no decoding, only splitting."""
    if "%" in field or "+" in field:
        return parse_qsl(field, keep_blank_values=True, errors="strict")[0]
    name, _, value = field.partition("=")
    return name, value


def _check_repeated(names: Sequence[str]) -> None:
    """Reject a repeated parameter, even if one of the two is empty."""
    if len(set(names)) == len(names):
        return
    repeated = {name for name in names if names.count(name) > 1}
    if repeated <= _TARGETS:
        # RFC 8707 allows several, and defines this code for a server that does not.
        raise OAuthError("invalid_target", "A token is for one resource: name one only.")
    raise OAuthError("invalid_request", "A parameter comes twice.")


def _check_query(query: bytes) -> None:
    """
    Reject OAuth parameters in the URL (RFC 6749, section 2.3.1): they would be ignored there.

    A credential in the URL ends up in the logs of every proxy, and a token requested with a `resource` in the URL would be
    issued for this Server instead.
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
