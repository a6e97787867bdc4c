"""
Sends an answer that is complete in one step, past the two messages of ASGI and what uvicorn does for each.

uvicorn takes an answer in parts from any application: it matches each name and each value of each header with a pattern, and joins head
and body by and by, which takes longer than checking a token. Headers that are the same for many answers are checked and
joined once here (`Head`). Only if nothing stands between the answer and uvicorn: where middleware has wrapped `send`, and whenever something
is unusual, the answer goes out as messages.
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
    Headers of an answer, checked once: as ASGI has them, and as they are sent.

    Args:
        fields: Names in lower case, and values. Not the body's length, which is added.

    Raises:
        ValueError: A name or a value may not be sent as it is.
    """

    __slots__ = ("closes", "fields", "lines")

    def __init__(self, *fields: Field) -> None:
        self.fields = fields
        self.lines = _lines(fields)
        self.closes = any(name == b"connection" and b"close" in value for name, value in fields)
        """Whether it says that the connection ends with this answer."""


def send_whole(send: Send, status: int, head: Head, body: bytes) -> bool:
    """Send an answer if it can be sent in one step, and return whether it was."""
    cycle = getattr(send, "__self__", None)
    if not isinstance(cycle, RequestResponseCycle) or not _is_usual(cycle):
        return False
    if status == NO_CONTENT and body:
        # Response splitting: it would be read as the next answer. uvicorn refuses it.
        return False
    cycle.response_started = True
    cycle.waiting_for_100_continue = False
    of_every_answer = _default_head(tuple(cycle.default_headers))
    lines = [STATUS_LINE[status], of_every_answer.lines, head.lines]
    if status != NO_CONTENT:
        lines.append(b"content-length: %d\r\n" % len(body))
    # Desynchronization: a client that has read `close` takes nothing more for an answer (RFC 9112, section 9.6). A Server that
    # drains says so in the headers of every answer.
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
    """Return whether nothing waits to be written, and the request is one that an answer with a body belongs to."""
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


# The same for a second: one of them is the date.
@functools.lru_cache(maxsize=8)
def _default_head(fields: tuple[Field, ...]) -> Head:
    return Head(*fields)
