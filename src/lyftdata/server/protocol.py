"""
uvicorn's HTTP protocol with the bounds it leaves to a proxy: size and time of what is not a body.

A Server may stand without a proxy, so a stranger must not be able to make it hold endless headers or trailers,
connections that never finish saying what they want, requests without end on one connection, or answers that are
never read. The size and time of a body are its reader's to bound.
"""

import asyncio
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

MAX_HEAD_BYTES = 32_768
HEAD_WITHIN_S = 15.0
REST_WITHIN_S = 15.0
# A body is waited for by its reader, for ten seconds; these are the rest of the 15.
UNFINISHED_WITHIN_S = 5.0
# Hardly any client sends a request before the last one was answered; whoever sends more than these wants something else.
MOST_PIPELINED = 8
UNREAD_WITHIN_S = 60.0

_TOO_LARGE = b"HTTP/1.1 431 Request Header Fields Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
_TOO_SLOW = b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


class _OneWrite:
    """
    A transport that sends at once what is written until the answer is complete, or the event loop goes on.

    uvicorn writes the head of an answer and its body apart: two calls of the system, and two packets for the peer.
    """

    __slots__ = ("_loop", "_transport", "_written")

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._written: list[bytes] = []

    def write(self, data: bytes) -> None:
        """Send this, together with what follows it in this step."""
        if not self._written:
            self._loop.call_soon(self.flush)
        self._written.append(data)

    def close(self) -> None:
        """Close the connection, once everything was sent."""
        self.flush()
        self._transport.close()

    def abort(self) -> None:
        """Close the connection as it is."""
        self._written.clear()
        self._transport.abort()

    def flush(self) -> None:
        """Send what was written."""
        if self._written and not self._transport.is_closing():
            self._transport.write(b"".join(self._written))
        self._written.clear()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


class BoundedHttpProtocol(HttpToolsProtocol):
    """
    Refuses a request line with headers of more than 32 KiB (431), or that takes over 15 seconds (408).

    What follows a body (trailers, the extensions of a chunk) is bounded alike. Once a request was answered, what
    its sender still sends is read for 15 seconds more, and then the connection is closed; for five, if it was answered before it had
    come whole. So it is when more than
    eight requests wait on it, or when answers are not read for a minute.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._held_bytes = 0
        self._in_head = True
        self._timer: asyncio.TimerHandle | None = None
        self._refused = False
        self._unread_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the clock: a connection on which nothing is said is closed too."""
        super().connection_made(cast("asyncio.Transport", _OneWrite(transport, self.loop)))
        self._start_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the clocks."""
        self._stop_timer()
        self._stop_unread_timer()
        self.pipeline.clear()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """Start a clock: whoever asks and does not read keeps an answer, and who waits to send it, in memory."""
        super().pause_writing()
        self._stop_unread_timer()
        self._unread_timer = self.loop.call_later(UNREAD_WITHIN_S, self.transport.abort)

    def resume_writing(self) -> None:
        """Stop that clock: the peer reads on."""
        self._stop_unread_timer()
        super().resume_writing()

    def on_response_complete(self) -> None:
        """Send the answer; wait less long for the rest of what is answered already than for a next request."""
        # Now, and not after the answers of all others that are told something in this turn.
        cast("_OneWrite", self.transport).flush()
        super().on_response_complete()
        if _is_answered(self.cycle) and self.cycle.more_body and not self._in_head and not self._refused:
            self._stop_timer()
            self._timer = self.loop.call_later(UNFINISHED_WITHIN_S, self.transport.close)

    def data_received(self, data: bytes) -> None:
        """Count what the parser has taken and not given out: it keeps a header or a trailer until that is complete."""
        if self._refused:
            return
        self._held_bytes += len(data)
        super().data_received(data)
        if self._held_bytes > MAX_HEAD_BYTES:
            self._refuse(_TOO_LARGE)
        elif self._timer is None and _is_answered(self.cycle):
            # uvicorn has just cancelled its keep-alive timer because something came. Unless that was a request,
            # nothing would ever close this connection.
            self._timer = self.loop.call_later(REST_WITHIN_S, self.transport.close)

    def on_message_begin(self) -> None:
        """Start counting anew with each request of the connection."""
        super().on_message_begin()
        if not self._refused:
            self._start_head()

    def on_header(self, name: bytes, value: bytes) -> None:
        """
        Take headers of the head only.

        What follows a chunked body (trailers, RFC 9112, section 7.1.2) would be appended to the very list that the
        application reads: unbounded, and a credential that came after the checks. None of our clients sends any.
        """
        if self._in_head:
            super().on_header(name, value)
        else:
            self._refuse(_TOO_LARGE)

    def on_headers_complete(self) -> None:
        """Let the request through if its head is within the bound, and not too many wait before it."""
        if self._refused:
            # It stands in the same piece of data behind one that was refused.
            return
        self._in_head = False
        self._held_bytes = 0
        self._stop_timer()
        if sum(len(name) + len(value) + 4 for name, value in self.headers) + len(self.url) > MAX_HEAD_BYTES:
            self._refuse(_TOO_LARGE)
            return
        if len(self.pipeline) >= MOST_PIPELINED:
            # Without an answer: it would be read as the answer to the first that waits.
            self._refuse(b"")
            return
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Take a body only of a request that was let through."""
        self._held_bytes = 0
        if not self._refused:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """End a request only that was let through."""
        self._held_bytes = 0
        if _is_answered(self.cycle):
            # The rest of it has come in time.
            self._stop_timer()
        if not self._refused:
            super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """Answer nonsense, once."""
        self._stop_timer()
        if not self._refused:
            super().send_400_response(msg)

    def _start_head(self) -> None:
        self._in_head = True
        self._held_bytes = 0
        self._stop_timer()
        self._timer = self.loop.call_later(HEAD_WITHIN_S, self._refuse, _TOO_SLOW)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _stop_unread_timer(self) -> None:
        if self._unread_timer is not None:
            self._unread_timer.cancel()
            self._unread_timer = None

    def _refuse(self, answer: bytes) -> None:
        self._refused = True
        self._stop_timer()
        self.pipeline.clear()
        if not self.transport.is_closing():
            self.transport.write(answer)
            self.transport.close()
            # Closing waits until the peer has read what is on its way, which it may never do.
            self.loop.call_later(REST_WITHIN_S, self.transport.abort)


def _is_answered(cycle: RequestResponseCycle | None) -> bool:
    """Return whether the last request was answered; before the first there is none."""
    return cycle is not None and cycle.response_complete
