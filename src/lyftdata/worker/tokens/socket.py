"""
The token socket: HTTP/1.1 over a Unix socket, for the COMMAND only.

    curl --unix-socket "$LYFTDATA_WORKER_TOKEN_SOCKET" http://localhost/token
    {"access_token":"eyJ…","token_type":"Bearer","expires_in":871}

`?audience=URI` asks for a token for a service other than the Server (RFC 8707), `scope=…` for some of the scopes there
(RFC 6749, section 3.3), and `rejected=…`, the SHA-256 of a token in hex, to replace a token that a service has rejected. Errors are
JSON with `error` and `error_description`. There is one request for each connection. The socket has mode 0600 in a directory of mode
0700, and on Linux the kernel reports which user is at the other end.
"""

import asyncio
import contextlib
import email.utils
import os
import re
import socket
import struct
import sys
import urllib.parse
from collections.abc import AsyncIterator, Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final

import h11
import msgspec

from lyftdata.core.log_events.worker import TOKEN_SOCKET_ABORTED
from lyftdata.core.text import clean_text
from lyftdata.log import emit, get_logger
from lyftdata.worker.client import (
    AudienceRefusedError,
    RefusedByServerError,
    ServerUnreachableError,
)
from lyftdata.worker.tokens.provider import NoTokenError, TokenProvider, TokenRequest

_log = get_logger(__name__)

MAX_HEAD_BYTES = 8_192
MAX_CONNECTIONS = 16
MAX_AUDIENCE_LENGTH = 512
MAX_SCOPE_LENGTH = 2_560
_HEAD_WITHIN_S = 5.0
# The Server has fifteen seconds to answer (`client`); a slower client is not a COMMAND of this agent.
_ALL_WITHIN_S = 30.0
_DRAIN_WITHIN_S = 1.0
_RETRY_AFTER_S = 5

_FOLDED = re.compile(rb"\n[ \t]")
_NOT_HTTP = "This is not an HTTP/1.1 request."
# Name: form, maximum length, `error` if it does not match, description of the form.
_PARAMETERS = {
    "audience": (
        re.compile(r"[!-~]+"),
        MAX_AUDIENCE_LENGTH,
        "invalid_target",
        f"a URI of at most {MAX_AUDIENCE_LENGTH} ASCII characters",
    ),
    # RFC 6749, section 3.3.
    "scope": (
        re.compile(r"[!#-\[\]-~]+(?: [!#-\[\]-~]+)*"),
        MAX_SCOPE_LENGTH,
        "invalid_scope",
        f"names with one space between them, at most {MAX_SCOPE_LENGTH} ASCII characters",
    ),
    "rejected": (re.compile(r"[0-9a-f]{64}"), 64, "invalid_request", "a token's SHA-256 in lower-case hex"),
}


class _BadRequestError(Exception):
    """A request that gets an error instead of a token."""

    def __init__(self, status: HTTPStatus, error: str, description: str, **headers: str) -> None:
        super().__init__(description)
        self.answer: Final = _Answer(status, {"error": error, "error_description": description}, headers)


class _Answer(msgspec.Struct, frozen=True):
    status: HTTPStatus
    body: dict[str, Any]
    headers: Mapping[str, str] = {}

    def encode(self, http: h11.Connection, *, with_body: bool) -> bytes:
        """Return the bytes to send; the answer to HEAD has no body."""
        body = msgspec.json.encode(self.body)
        fields = {
            "Date": email.utils.formatdate(usegmt=True),
            "Content-Type": "application/json",
            "Content-Length": str(len(body)),
            "Cache-Control": "no-store",
            "Connection": "close",
            **self.headers,
        }
        response = h11.Response(
            status_code=self.status.value, reason=self.status.phrase, headers=list(fields.items())
        )
        parts = (response, h11.Data(body if with_body else b""), h11.EndOfMessage())
        return b"".join(http.send(part) or b"" for part in parts)


class TokenSocket:
    """
    Answers on a Unix socket; see `serving`.

    Args:
        provider: Provides the tokens.
        head_within_s: Seconds that a request may take to arrive.
    """

    def __init__(self, provider: TokenProvider, *, head_within_s: float = _HEAD_WITHIN_S) -> None:
        self._provider = provider
        self._head_within_s = head_within_s
        self._open: set[asyncio.Task[Any]] = set()

    @contextlib.asynccontextmanager
    async def serving(self, path: Path) -> AsyncIterator[None]:
        """Listen at a path in a directory of mode 0700 within the block; close every connection at its end."""
        server = await asyncio.start_unix_server(self._connection, path, limit=MAX_HEAD_BYTES)
        # Race: no other user can connect before the mode is set, since the directory has mode 0700.
        path.chmod(0o600)  # noqa: ASYNC240 - one system call on the agent's own file
        try:
            yield
        finally:
            server.close()
            for task in self._open:
                task.cancel()
            await asyncio.gather(*self._open, return_exceptions=True)

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - asyncio runs this in a task of its own
        self._open.add(task)
        try:
            async with asyncio.timeout(_ALL_WITHIN_S):
                await self._serve(reader, writer)
        except (TimeoutError, OSError, asyncio.IncompleteReadError):
            emit(_log, TOKEN_SOCKET_ABORTED)
        finally:
            self._open.discard(task)
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        http = h11.Connection(h11.SERVER, max_incomplete_event_size=2 * MAX_HEAD_BYTES)
        with_body = True
        try:
            self._check_peer(writer.get_extra_info("socket"))
            request = await self._head(http, reader)
            with_body = request.method != b"HEAD"
            answer = await self._token(_read_request(request))
        except _BadRequestError as error:
            answer = error.answer
        writer.write(answer.encode(http, with_body=with_body))
        await writer.drain()
        await _drain_before_close(reader, writer)

    def _check_peer(self, connection: socket.socket) -> None:
        if len(self._open) > MAX_CONNECTIONS:
            raise _unavailable("Too many connections at once.")
        # Token theft by another user: the directory's mode is the first barrier, the user ID that the kernel reports the second.
        if not _is_same_user(connection):
            raise _BadRequestError(
                HTTPStatus.FORBIDDEN, "access_denied", "This socket serves one user, and you are another."
            )

    async def _head(self, http: h11.Connection, reader: asyncio.StreamReader) -> h11.Request:
        """Read a request up to its body."""
        try:
            async with asyncio.timeout(self._head_within_s):
                return await _next_request(http, reader)
        except TimeoutError:
            raise _BadRequestError(
                HTTPStatus.REQUEST_TIMEOUT, "invalid_request", "The request took too long."
            ) from None

    async def _token(self, wanted: TokenRequest) -> _Answer:
        try:
            text, left_s = await self._provider.token(wanted)
        except (AudienceRefusedError, RefusedByServerError) as refused:
            return _refusal(refused)
        except (NoTokenError, ServerUnreachableError) as error:
            raise _unavailable(clean_text(error.message, 300)) from error
        return _Answer(HTTPStatus.OK, {"access_token": text, "token_type": "Bearer", "expires_in": left_s})


async def _drain_before_close(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Send EOF and drain unread input for a moment: a close with unread input sends RST, and the answer could be lost."""
    writer.write_eof()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_DRAIN_WITHIN_S):
            while await reader.read(MAX_HEAD_BYTES):
                pass


def _is_same_user(connection: socket.socket) -> bool:
    """Return whether the other end runs as our user; True if the kernel does not report it."""
    if sys.platform != "linux":
        return True
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    _pid, uid, _gid = struct.unpack("3i", credentials)
    return bool(uid == os.geteuid())


async def _next_request(http: h11.Connection, reader: asyncio.StreamReader) -> h11.Request:
    received = b""
    try:
        while (event := http.next_event()) is h11.NEED_DATA:
            piece = await reader.read(MAX_HEAD_BYTES)
            received += piece
            if len(received) > MAX_HEAD_BYTES:
                raise _BadRequestError(
                    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "invalid_request", "The request is too long."
                )
            http.receive_data(piece)
    except h11.RemoteProtocolError:
        raise _BadRequestError(HTTPStatus.BAD_REQUEST, "invalid_request", _NOT_HTTP) from None
    if not isinstance(event, h11.Request):
        raise ConnectionResetError("It was closed before a whole request was there.")
    # RFC 9112, section 5.2: h11 joins folded lines, which no client has a reason to send.
    if event.http_version not in {b"1.0", b"1.1"} or _FOLDED.search(received):
        raise _BadRequestError(HTTPStatus.BAD_REQUEST, "invalid_request", _NOT_HTTP)
    return event


def _read_request(request: h11.Request) -> TokenRequest:
    """Parse a request."""
    if any(
        name == b"transfer-encoding" or (name == b"content-length" and value != b"0")
        for name, value in request.headers
    ):
        raise _BadRequestError(HTTPStatus.BAD_REQUEST, "invalid_request", "A request here has no body.")
    return _check_target(request.method.decode("ascii"), request.target.decode("ascii"))


def _check_target(method: str, target: str) -> TokenRequest:
    try:
        parts = urllib.parse.urlsplit(target)
        query = urllib.parse.parse_qsl(
            parts.query, keep_blank_values=True, strict_parsing=bool(parts.query), max_num_fields=4
        )
    except ValueError:
        raise _BadRequestError(
            HTTPStatus.BAD_REQUEST, "invalid_request", "The address cannot be read."
        ) from None
    if parts.path != "/token":
        raise _BadRequestError(HTTPStatus.NOT_FOUND, "not_found", "Only /token is here.")
    if method not in {"GET", "HEAD"}:
        raise _BadRequestError(
            HTTPStatus.METHOD_NOT_ALLOWED, "invalid_request", "Ask with GET.", Allow="GET, HEAD"
        )
    return _wanted(query)


def _wanted(query: list[tuple[str, str]]) -> TokenRequest:
    given = dict(query)
    if len(given) != len(query) or not given.keys() <= _PARAMETERS.keys():
        names = ", ".join(_PARAMETERS)
        raise _BadRequestError(
            HTTPStatus.BAD_REQUEST, "invalid_request", f"The parameters are {names}, each given at most once."
        )
    for name, value in given.items():
        pattern, longest, error, must_be = _PARAMETERS[name]
        if not pattern.fullmatch(value) or len(value) > longest:
            raise _BadRequestError(HTTPStatus.BAD_REQUEST, error, f"{name} must be {must_be}.")
    return TokenRequest(**given)


def _refusal(refused: AudienceRefusedError | RefusedByServerError) -> _Answer:
    """Return the answer for a refusal by the Server, with the Server's text cleaned and truncated."""
    status, error = HTTPStatus.FORBIDDEN, "access_denied"
    if isinstance(refused, AudienceRefusedError):
        status, error = HTTPStatus.BAD_REQUEST, refused.error
    body = {
        "error": error,
        "error_description": clean_text(refused.message, 300),
        "reference": clean_text(refused.reference, 32),
        "code": clean_text(refused.cause_code, 64),
        "remedy": clean_text(refused.hint, 300),
    }
    return _Answer(status, {name: value for name, value in body.items() if value})


def _unavailable(description: str) -> _BadRequestError:
    return _BadRequestError(
        HTTPStatus.SERVICE_UNAVAILABLE,
        "temporarily_unavailable",
        description,
        **{"Retry-After": str(_RETRY_AFTER_S)},
    )
