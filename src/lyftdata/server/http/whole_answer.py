"""
Sends a complete response in one step, bypassing the two ASGI messages and uvicorn's work for each.

uvicorn accepts a response in parts from any application: it matches the name and value of each header against a pattern, and joins head
and body piece by piece, which takes longer than checking a token. Headers that are the same for many responses are checked and joined only
once here (`Head`). This works only if nothing stands between the response and uvicorn: if middleware has wrapped `send`, or anything is
unusual, the response is sent as messages.
"""

import functools
import re
from collections.abc import Sequence

from starlette.types import Send
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

NO_CONTENT = 204

Field = tuple[bytes, bytes]

_NAME = re.compile(rb"[a-z0-9-]+")
# RFC 9110, section 5.5. Header injection: a line break in a value would begin another header, or the body.
_NOT_IN_A_VALUE = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")


class Head:
    """
    Headers of a response, checked once, in ASGI form and as sent.

    Args:
        fields: Names in lower case, and values. Without the content length, which is added.

    Raises:
        ValueError: A name or value contains characters that must not be sent.
    """

    __slots__ = ("closes", "fields", "lines")

    def __init__(self, *fields: Field) -> None:
        self.fields = fields
        self.lines = _lines(fields)
        self.closes = any(name == b"connection" and b"close" in value for name, value in fields)
        """Whether the headers close the connection after this response."""


def send_whole(send: Send, status: int, head: Head, body: bytes) -> bool:
    """Send a response if it can be sent in one step, and return whether it was sent."""
    cycle = getattr(send, "__self__", None)
    if not isinstance(cycle, RequestResponseCycle) or not _is_usual(cycle):
        return False
    if status == NO_CONTENT and body:
        # Response splitting: the body of such a status would be read as the next response. uvicorn rejects it.
        return False
    cycle.response_started = True
    cycle.waiting_for_100_continue = False
    of_every_answer = _default_head(tuple(cycle.default_headers))
    lines = [STATUS_LINE[status], of_every_answer.lines, head.lines]
    if status != NO_CONTENT:
        lines.append(b"content-length: %d\r\n" % len(body))
    # Desynchronization: a client that has read `close` ignores anything that follows (RFC 9112, section 9.6). A draining Server
    # sends it in the headers of every response.
    if head.closes or of_every_answer.closes:
        cycle.keep_alive = False
    elif not cycle.keep_alive:
        lines.append(b"connection: close\r\n")
    lines += (b"\r\n", body)
    write = getattr(cycle.transport, "write_whole", cycle.transport.write)
    write(b"".join(lines))
    cycle.response_complete = True
    cycle.message_event.set()
    if not cycle.keep_alive:
        cycle.transport.close()
    cycle.on_response()
    return True


def _is_usual(cycle: RequestResponseCycle) -> bool:
    """Return whether the write buffer is empty, and the request may get a response with a body."""
    return not (
        cycle.flow.write_paused
        or cycle.disconnected
        or cycle.response_started
        or cycle.access_log
        or cycle.scope["method"] == "HEAD"
    )


def _lines(fields: Sequence[Field]) -> bytes:
    for name, value in fields:
        if not _NAME.fullmatch(name) or _NOT_IN_A_VALUE.search(value):
            raise ValueError("a header that may not be sent")
    return b"".join(b"%s: %s\r\n" % field for field in fields)


# Valid for a second: one of the headers is the date.
@functools.lru_cache(maxsize=8)
def _default_head(fields: tuple[Field, ...]) -> Head:
    return Head(*fields)
