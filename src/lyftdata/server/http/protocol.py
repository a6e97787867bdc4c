"""
uvicorn's HTTP protocol with stricter limits on size and time, and one interpretation of each request.

A Server may run without a proxy, so an unproven caller must not be able to make it hold endless headers or trailers,
connections that never finish a request, endless pipelined requests, or responses that are never read. The size and time of a body are
bounded by its reader. The Server may also run behind a proxy, and both must agree on where each request ends: request_head.py has the
rules for the head, this module those for the connection.
"""

import asyncio
import functools
import http
from typing import Any, cast

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from lyftdata.server.http.request_head import MAX_HEAD_BYTES, HeadRejectedError, check_head

HEAD_WITHIN_S = 15.0
REST_WITHIN_S = 15.0
# The reader of a body waits ten seconds for it; these are the remaining seconds of the 15.
UNFINISHED_WITHIN_S = 5.0
# Hardly any client pipelines requests; one that sends more than this is up to something else.
MAX_PIPELINED = 8
UNREAD_WITHIN_S = 60.0

_TOO_LARGE = f"What is not a body is larger than {MAX_HEAD_BYTES} bytes."


class _OneWrite:
    """
    A transport that buffers writes until the response is complete, or until the next event loop iteration.

    uvicorn writes head and body of a response separately: two system calls, and two packets for the peer.
    """

    __slots__ = ("_loop", "_transport", "_written")

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._written: list[bytes] = []

    def write(self, data: bytes) -> None:
        """Buffer data, to be sent together with what follows in this step."""
        if not self._written:
            self._loop.call_soon(self.flush)
        self._written.append(data)

    def write_whole(self, data: bytes) -> None:
        """Send data that completes a response, after what is buffered."""
        self._written.append(data)
        self.flush()

    def close(self) -> None:
        """Close the connection once everything has been sent."""
        self.flush()
        self._transport.close()

    def abort(self) -> None:
        """Close the connection immediately."""
        self._written.clear()
        self._transport.abort()

    def is_closing(self) -> bool:
        """Return whether the connection is closed, or will be once everything has been sent."""
        return self._transport.is_closing()

    def flush(self) -> None:
        """Send what is buffered."""
        if self._written and not self._transport.is_closing():
            self._transport.write(b"".join(self._written))
        self._written.clear()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


class BoundedHttpProtocol(HttpToolsProtocol):
    """
    Rejects a request line and headers of more than 32 KiB (431), or that take over 15 seconds (408).

    Trailers and chunk extensions are bounded in the same way. After a request has been answered, what the client still sends
    is read for another 15 seconds, or five if the request had not yet arrived completely; then the connection is closed. The same applies
    if more than eight requests are pipelined; if responses are not read for a minute, it is aborted.

    An offer to upgrade is ignored (RFC 9110, section 7.8). After a malformed request, or the last request of a connection,
    nothing more is read.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._held_bytes = 0
        self._in_head = True
        self._timer: asyncio.TimerHandle | None = None
        self._upgrade_offered = False
        self._reads_no_more = False
        self._last_answer = b""
        self._unread_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the timer: a connection without any request is closed too."""
        super().connection_made(cast("asyncio.Transport", _OneWrite(transport, self.loop)))
        self._start_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the timers."""
        self._stop_timer()
        self._stop_unread_timer()
        self.pipeline.clear()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """Start a timer: a peer that sends requests but does not read keeps responses, and their tasks, in memory."""
        super().pause_writing()
        self._stop_unread_timer()
        self._unread_timer = self.loop.call_later(UNREAD_WITHIN_S, self.transport.abort)

    def resume_writing(self) -> None:
        """Stop that timer: the peer is reading again."""
        self._stop_unread_timer()
        super().resume_writing()

    def close_after_answer(self) -> None:
        """Make the response to the pending request, if any, the last one on this connection, and announce that."""
        if _is_pending(self.cycle):
            self.cycle.keep_alive = False

    def on_response_complete(self) -> None:
        """Send the response; wait a shorter time for the rest of an answered request than for the next request."""
        # Now, not after the responses to all other requests of this event loop iteration.
        cast("_OneWrite", self.transport).flush()
        was_last = self._reads_no_more and not self.pipeline
        super().on_response_complete()
        if was_last:
            self._close(self._last_answer)
        elif (
            _is_answered(self.cycle)
            and self.cycle.more_body
            and not self._in_head
            and not self._reads_no_more
        ):
            self._stop_timer()
            self._timer = self.loop.call_later(UNFINISHED_WITHIN_S, self.transport.close)

    def data_received(self, data: bytes) -> None:
        """Count the bytes that the parser holds: it keeps a header or trailer until that is complete."""
        # A closed TLS connection is still read until everything has been sent: no request from it may be processed.
        if self._reads_no_more or self.transport.is_closing():
            return
        self._unset_keepalive_if_required()
        self._held_bytes += len(data)
        try:
            self._parse(data)
        except httptools.HttpParserError:
            self._reject(400, "Invalid HTTP request received.")
            return
        if self._held_bytes > MAX_HEAD_BYTES:
            self._reject(431, _TOO_LARGE)
        elif self._timer is None and _is_answered(self.cycle):
            # uvicorn's keep-alive timer was just cancelled because data arrived. Unless that was a request, nothing would ever
            # close this connection.
            self._timer = self.loop.call_later(REST_WITHIN_S, self.transport.close)

    def _parse(self, data: bytes) -> None:
        """
        Feed data to the parser, resuming whenever it stops at an offer to upgrade.

        The parser ends such a request at its head, and would parse the body as the next request. httptools has no option to
        prevent that, so the head is fed to a new parser without the offer, and the new parser continues from there.
        """
        rest: bytes | memoryview = data
        while not self._reads_no_more:
            try:
                self.parser.feed_data(rest)
            except httptools.HttpParserUpgrade as stopped:
                if self._upgrade_offered:
                    self._parse_head_without_offer()
                rest = memoryview(rest)[stopped.args[0] :]
            else:
                return

    def _parse_head_without_offer(self) -> None:
        self._upgrade_offered = False
        line = b"%s %s HTTP/%s" % (
            self.parser.get_method(),
            self.url,
            self.parser.get_http_version().encode(),
        )
        fields = [b"%s: %s" % field for field in self.headers if field[0] != b"upgrade"]
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
        self.parser.feed_data(b"\r\n".join([line, *fields, b"", b""]))

    def on_message_begin(self) -> None:
        """Reset the count for each request of the connection, unless the one before was the last."""
        if _ends_connection(self.cycle):
            self._reads_no_more = True
        super().on_message_begin()
        if not self._reads_no_more:
            self._start_head()

    def on_header(self, name: bytes, value: bytes) -> None:
        """
        Accept headers of the head only.

        Trailers of a chunked body are dropped, as RFC 9112, section 7.1.2, allows: they would be appended to the list that the
        application reads, so that a credential could be added after the checks.
        """
        if self._in_head:
            self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        """Accept the request if its head is valid and not too many requests wait before it."""
        if self._reads_no_more:
            # It arrived in the same piece of data, after a rejected request.
            return
        try:
            self.url, self.expect_100_continue = check_head(
                method=self.parser.get_method(),
                version=self.parser.get_http_version(),
                target=self.url,
                headers=self.headers,
            )
        except HeadRejectedError as rejected:
            self._reject(rejected.status, rejected.detail)
            return
        if self.parser.should_upgrade():
            self._upgrade_offered = True
            return
        self._in_head = False
        self._held_bytes = 0
        self._stop_timer()
        if len(self.pipeline) >= MAX_PIPELINED:
            self._stop_reading()
            return
        super().on_headers_complete()
        if self.expect_100_continue:
            # After a final response without a 100, the client may send the body or not (RFC 9110, section 10.1.1): bytes of
            # its next request could be read as that body.
            self.cycle.keep_alive = False

    def on_body(self, body: bytes) -> None:
        """Accept body data only for an accepted request."""
        self._held_bytes = 0
        if not self._reads_no_more:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """End a request only if it was accepted."""
        if self._reads_no_more or self._upgrade_offered:
            return
        self._held_bytes = 0
        self._in_head = True
        if _is_answered(self.cycle):
            # The rest of the request has arrived in time.
            self._stop_timer()
        super().on_message_complete()

    def _start_head(self) -> None:
        self._in_head = True
        self._held_bytes = 0
        self._stop_timer()
        self._timer = self.loop.call_later(
            HEAD_WITHIN_S, self._reject, 408, "The request took too long to arrive."
        )

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _stop_unread_timer(self) -> None:
        if self._unread_timer is not None:
            self._unread_timer.cancel()
            self._unread_timer = None

    def _reject(self, status: int, detail: str) -> None:
        """Answer data that is not a valid request, read nothing more, and close."""
        if self._reads_no_more:
            return
        self._stop_reading()
        answer = _rejection(status, detail, tuple(self.server_state.default_headers))
        if self._in_head:
            if self.pipeline or _is_pending(self.cycle):
                # Earlier requests are answered first: otherwise responses would be matched to the wrong requests.
                self._last_answer = answer
            else:
                self._close(answer)
        elif self.pipeline:
            # That request is itself pipelined, and will never be complete.
            self.pipeline.popleft()
            self._last_answer = answer
        else:
            # A second response to one request would be taken for the response to the next.
            self._close(b"" if self.cycle.response_started else answer)

    def _stop_reading(self) -> None:
        """Read nothing more from the peer; close once its pending requests are answered, or after a short time."""
        self._reads_no_more = True
        self._stop_timer()
        self._timer = self.loop.call_later(REST_WITHIN_S, self.transport.abort)

    def _close(self, answer: bytes) -> None:
        if not self.transport.is_closing():
            self.transport.write(answer)
            self.transport.close()


@functools.lru_cache(maxsize=16)
def _rejection(status: int, detail: str, headers: tuple[tuple[bytes, bytes], ...]) -> bytes:
    """Return a response that closes the connection."""
    fields = [
        b"HTTP/1.1 %d %s" % (status, http.HTTPStatus(status).phrase.encode()),
        *(b"%s: %s" % field for field in headers),
        b"content-type: text/plain; charset=utf-8",
        b"content-length: %d" % len(detail),
        b"connection: close",
    ]
    return b"\r\n".join([*fields, b"", detail.encode()])


def _is_pending(cycle: RequestResponseCycle | None) -> bool:
    """Return whether the last request is still unanswered; False if there was none."""
    return cycle is not None and not cycle.response_complete


def _ends_connection(cycle: RequestResponseCycle | None) -> bool:
    """Return whether the connection closes after the response to the last request."""
    return cycle is not None and not cycle.keep_alive


def _is_answered(cycle: RequestResponseCycle | None) -> bool:
    """Return whether the last request was answered; False if there was none."""
    return cycle is not None and cycle.response_complete
