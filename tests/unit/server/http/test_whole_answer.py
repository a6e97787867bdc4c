"""An answer that is sent in one step is, byte for byte, the one that uvicorn makes of two messages."""

import asyncio

import pytest
from tests.recording_server import new_protocol
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from lyftdata.server.http.responses import NO_STORE_JSON, RawResponse, json_response, temporarily_unavailable
from lyftdata.server.http.whole_answer import Head, send_whole

GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
ANSWERS = {
    "with a body": lambda: RawResponse(200, NO_STORE_JSON, b'{"a": 1}'),
    "with an empty body": lambda: RawResponse(200, NO_STORE_JSON),
    "without a body": lambda: RawResponse(204, Head((b"x-lyftdata-worker-id", b"w-1"))),
    # A client would read its body as the beginning of the next answer: uvicorn closes the connection instead.
    "with a body that it must not have": lambda: RawResponse(204, NO_STORE_JSON, b"HTTP/1.1 200 OK"),
    "with headers of its own": lambda: json_response(
        {}, status=401, headers={"DPoP-Nonce": "n", "X": "caf\xe9"}
    ),
    "that ends the connection": lambda: temporarily_unavailable("Later.", retry_after_s=2, close=True),
}
REQUESTS = {
    "HTTP/1.1": GET,
    "HTTP/1.0": b"GET / HTTP/1.0\r\n\r\n",
    "the last of its connection": b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    "HEAD": b"HEAD / HTTP/1.1\r\nHost: x\r\n\r\n",
    "three at once": GET * 3,
    "one that waits with its body": b"POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n",
}


class Connection(asyncio.Transport):
    """A transport that records what is written to it, and whether it was closed."""

    def __init__(self):
        super().__init__({"peername": ("127.0.0.1", 1), "sockname": ("127.0.0.1", 2)})
        self.written = []
        self.closed = False

    def write(self, data):
        """Record the data."""
        self.written.append(bytes(data))

    def close(self):
        """Record the close."""
        self.closed = True

    def is_closing(self):
        """Return whether it was closed."""
        return self.closed

    def pause_reading(self):
        """Do nothing."""

    def resume_reading(self):
        """Do nothing."""


async def exchange(app, *pieces, of_every_answer=()):
    """Send data to an application; return what was written, and whether the connection was closed."""
    protocol, connection = new_protocol(app), Connection()
    protocol.server_state.default_headers = [
        (b"date", b"today"),
        (b"x-content-type-options", b"nosniff"),
        *of_every_answer,
    ]
    protocol.connection_made(connection)
    for piece in pieces:
        protocol.data_received(piece)
    while protocol.tasks:
        await asyncio.wait(set(protocol.tasks))
        await asyncio.sleep(0)
    # Read before `connection_lost`, which closes every connection.
    closed = connection.closed
    protocol.connection_lost(None)
    return connection.written, closed


def whole(make):
    """Return an application that sends this answer."""

    async def app(scope, receive, send):
        await make()(scope, receive, send)

    return app


def in_messages(make):
    """Return the same application behind middleware that wraps `send`."""

    async def app(scope, receive, send):
        async def wrapped(message):
            await send(message)

        await make()(scope, receive, wrapped)

    return app


@pytest.mark.parametrize("request_", REQUESTS.values(), ids=REQUESTS)
@pytest.mark.parametrize("make", ANSWERS.values(), ids=ANSWERS)
async def test_an_answer_has_the_bytes_that_uvicorn_would_send(make, request_):
    """And the connection stays open or is closed in the same cases, whatever the request and the answer."""
    written, closed = await exchange(whole(make), request_)
    expected, closes = await exchange(in_messages(make), request_)

    assert (b"".join(written), closed) == (b"".join(expected), closes)
    assert written[0].startswith(b"HTTP/1.1 ")


@pytest.mark.parametrize("request_", REQUESTS.values(), ids=REQUESTS)
@pytest.mark.parametrize("make", ANSWERS.values(), ids=ANSWERS)
async def test_a_draining_server_closes_the_connection_after_each_answer(make, request_):
    """

    The answer says so: otherwise a request sent after it would be answered to a client that no longer reads.

    RFC 9112, section 9.6: after sending `close`, a server processes nothing more on the connection.
    """
    close = [(b"connection", b"close")]
    written, closed = await exchange(whole(make), request_, of_every_answer=close)
    expected, closes = await exchange(in_messages(make), request_, of_every_answer=close)

    assert (b"".join(written), closed) == (b"".join(expected), closes)
    assert closed


async def test_an_answer_is_written_in_one_piece(monkeypatch):
    """Head and body together, before the event loop continues, and without uvicorn's messages."""

    async def send(_cycle, _message):
        raise AssertionError

    monkeypatch.setattr(RequestResponseCycle, "send", send)
    written, _ = await exchange(whole(ANSWERS["with a body"]), GET)

    assert len(written) == 1


@pytest.mark.parametrize(
    "field",
    [
        (b"x-name", b"a\r\nset-cookie: b"),
        (b"x-name", b"a\nb"),
        (b"x-name", b"a\0"),
        (b"x-name\r\nset-cookie", b"a"),
        (b"x name", b"a"),
        (b"X-Name", b"a"),
        (b"", b"a"),
    ],
)
def test_a_header_with_a_line_break_is_rejected(field):
    """Header injection: neither a name nor a value can begin another header."""
    with pytest.raises(ValueError, match="may not be sent"):
        Head(field)


async def test_a_header_added_to_an_answer_is_sent():
    """Also if it is added after the answer was made."""

    def make():
        answer = RawResponse(200, NO_STORE_JSON, b"{}")
        answer.headers["x-added"] = "later"
        return answer

    written, _ = await exchange(whole(make), GET)

    assert b"\r\nx-added: later\r\n" in b"".join(written)


async def test_middleware_sees_every_answer():
    """Code that wraps `send` gets the two ASGI messages: no answer bypasses it."""
    seen = []

    async def app(scope, receive, send):
        async def wrapped(message):
            seen.append(message["type"])
            await send(message)

        await ANSWERS["with a body"]()(scope, receive, wrapped)

    await exchange(app, GET)

    assert seen == ["http.response.start", "http.response.body"]


async def test_backpressure_holds_an_answer_back():
    """While the peer does not read, no answer is written, however many requests it sends."""
    entered = asyncio.Event()

    async def app(scope, receive, send):
        entered.set()
        await ANSWERS["with a body"]()(scope, receive, send)

    protocol, connection = new_protocol(app), Connection()
    protocol.connection_made(connection)
    protocol.pause_writing()
    protocol.data_received(GET)
    await entered.wait()
    (task,) = protocol.tasks
    await asyncio.sleep(0)
    assert connection.written == []

    protocol.resume_writing()
    await task

    assert len(connection.written) == 1
    protocol.connection_lost(None)


def test_other_asgi_servers_get_messages():
    """The shortcut is used only with uvicorn's own `send`."""

    async def send(_message):
        raise AssertionError

    assert not send_whole(send, 200, NO_STORE_JSON, b"")
