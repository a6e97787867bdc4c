"""Limits on what an unknown caller can make a connection hold, and for how long; over real sockets."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from starlette.responses import PlainTextResponse
from tests.recording_server import Connection, Recorder, Wire, connected, new_protocol

from lyftdata.server.http import protocol
from lyftdata.server.http.protocol import MAX_PIPELINED, _OneWrite
from lyftdata.server.http.request_head import MAX_HEAD_BYTES

HEAD = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
SHORT_S = 0.2
# More than the system buffers for a connection.
LARGE = 16_000_000


@pytest.fixture
async def line(request, monkeypatch) -> AsyncIterator[Connection]:
    """Return a connection; by default, the application reads the request's body before it answers."""
    monkeypatch.setattr(protocol, "REST_WITHIN_S", SHORT_S)
    async with connected(Recorder(reads_first=getattr(request, "param", True))) as made:
        yield made


@pytest.mark.parametrize("begin", [b"0\r\nX-Fill: ", b"0\r\nX-", b"1;extension="])
async def test_trailers_and_chunk_extensions_are_limited(line, begin):
    """One that does not end closes the connection at the size limit of a head."""
    assert await line.send(HEAD + b"1\r\na\r\n")

    await line.send(begin, *[b"a" * 4096] * 200)

    assert b" 200 " not in await line.closed()


async def test_a_body_of_many_chunks_is_accepted(line):
    """The limit is on what the parser buffers, not on what it has passed on."""
    chunks = [b"4000\r\n" + b"a" * 0x4000 + b"\r\n"] * (3 * MAX_HEAD_BYTES // 0x4000)
    await line.send(HEAD, *chunks, b"0\r\n\r\n")

    assert (await line.answer()).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("line", [False], indirect=True)
async def test_the_rest_of_an_answered_request_has_a_time_limit(line):
    """Bytes that trickle in after the answer do not keep the connection open."""
    await line.send(HEAD)
    assert (await line.answer()).startswith(b"HTTP/1.1 200")

    async def trickle() -> None:
        while await line.send(b"1\r\na\r\n"):
            await asyncio.sleep(SHORT_S / 10)

    task = asyncio.create_task(trickle())
    await line.closed()
    task.cancel()


async def test_empty_lines_between_requests_do_not_keep_a_connection_open(line):
    """A line break is not a request, but it cancels the keep-alive timer: another timer replaces that."""
    await line.send(HEAD, b"0\r\n\r\n")
    await line.answer()
    await line.send(b"\r\n")
    await line.closed()


async def test_the_next_request_stops_the_timer_of_the_one_before(line):
    """A connection that is used again stays open."""
    for _ in range(3):
        await line.send(HEAD, b"0\r\n\r\n")
        assert (await line.answer()).startswith(b"HTTP/1.1 200")
        await line.reader.readexactly(2)
    await line.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\n")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(line.reader.read(1), 2 * SHORT_S)
    await line.send(b"a")

    assert (await line.answer()).startswith(b"HTTP/1.1 200")


HALF = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\na="


@pytest.mark.parametrize("line", [False], indirect=True)
async def test_half_a_request_that_was_answered_is_closed(line, monkeypatch):
    """After an answer that needs no body (401, 404), the connection does not count as idle."""
    monkeypatch.setattr(protocol, "UNFINISHED_WITHIN_S", SHORT_S)
    await line.send(HALF)

    assert (await line.answer()).startswith(b"HTTP/1.1 200")
    assert await line.closed() == b"ok"


@pytest.mark.parametrize("line", [False], indirect=True)
async def test_a_request_that_is_completed_in_time_keeps_the_connection(line, monkeypatch):
    """It serves the next request."""
    monkeypatch.setattr(protocol, "REST_WITHIN_S", 30)
    await line.send(HALF)
    assert (await line.answer()).startswith(b"HTTP/1.1 200")

    await line.send(b"1234567")
    await line.send(HALF + b"1234567")

    assert (await line.answer()).startswith(b"okHTTP/1.1 200")


GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


async def test_pipelined_requests_are_limited(line):
    """A few may be sent ahead; a flood of them is neither buffered nor answered."""
    await line.send(GET * 5)
    for _ in range(5):
        assert (await line.answer()).startswith(b"HTTP/1.1 200")
        await line.reader.readexactly(2)

    await line.send(*[GET * 2_000] * 20)

    assert (await line.closed()).count(b" 200 ") <= MAX_PIPELINED + 1


async def test_nothing_after_a_rejected_request_is_processed(line):
    """Requests in the same data as one without a Host header do not reach the application."""
    await line.send(b"GET / HTTP/1.1\r\n\r\n" + GET * 3)

    answers = await line.closed()
    assert answers.startswith(b"HTTP/1.1 400")
    assert b" 200 " not in answers


@pytest.mark.parametrize("reads", [False, True])
async def test_a_client_that_does_not_read_is_disconnected(monkeypatch, reads):
    """One that reads gets the whole answer."""
    if not reads:
        monkeypatch.setattr(protocol, "UNREAD_WITHIN_S", SHORT_S)
    made = new_protocol(PlainTextResponse(b"x" * LARGE))
    is_lost = asyncio.Event()
    lose = made.connection_lost

    def connection_lost(error: Exception | None) -> None:
        lose(error)
        is_lost.set()

    monkeypatch.setattr(made, "connection_lost", connection_lost)
    server = await asyncio.get_running_loop().create_server(lambda: made, "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname()[:2])
    try:
        writer.write(GET)
        if reads:
            await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 180)
            assert await asyncio.wait_for(reader.readexactly(LARGE), 180) == b"x" * LARGE
            assert not is_lost.is_set()
        else:
            await asyncio.wait_for(is_lost.wait(), 180)
    finally:
        writer.close()
        server.close()


class Pipe(asyncio.Transport):
    """A transport that records what is sent, and how it was closed."""

    def __init__(self):
        super().__init__()
        self.sent: list[bytes] = []

    def write(self, data):
        """Record the data."""
        self.sent.append(bytes(data))

    def close(self):
        """Record the close."""
        self.sent.append(b"closed")

    def abort(self):
        """Record the abort."""
        self.sent.append(b"aborted")

    def is_closing(self):
        """Return whether it was closed or aborted."""
        return bool({b"closed", b"aborted"} & set(self.sent))


@pytest.fixture
async def pipe():
    """Return the recording transport, and the writer in front of it."""
    real = Pipe()
    return real, _OneWrite(real, asyncio.get_running_loop())


async def test_head_and_body_are_sent_in_one_write(pipe):
    """In one system call and one packet, without waiting for what is written later."""
    real, written_to = pipe
    written_to.write(b"head")
    written_to.write(b"body")
    await asyncio.sleep(0)
    written_to.write(b"more")
    await asyncio.sleep(0)

    assert real.sent == [b"headbody", b"more"]


async def test_pending_data_is_sent_before_closing(pipe):
    """Once, and nothing written after the close."""
    real, written_to = pipe
    written_to.write(b"last words")
    written_to.close()
    written_to.write(b"too late")
    await asyncio.sleep(0)

    assert real.sent == [b"last words", b"closed"]
    assert written_to.is_closing()


async def test_an_abort_drops_pending_data(pipe):
    """Nothing more is sent."""
    real, written_to = pipe
    written_to.write(b"unsent")
    written_to.abort()
    await asyncio.sleep(0)

    assert real.sent == [b"aborted"]


async def test_the_answer_to_a_pending_request_can_be_made_the_last():
    """A draining Server has a held poll's answer close its connection; an idle connection stays open."""
    release = asyncio.Event()

    async def held(scope, receive, send) -> None:
        await release.wait()
        await PlainTextResponse("ok")(scope, receive, send)

    made, wire = new_protocol(held), Wire()
    made.connection_made(wire)
    made.close_after_answer()
    assert not wire.is_closing()
    made.data_received(GET)
    await asyncio.sleep(0)

    made.close_after_answer()
    release.set()
    async with asyncio.timeout(180):
        while not wire.is_closing():
            await asyncio.sleep(0)

    assert wire.sent.startswith(b"HTTP/1.1 200")
    assert b"connection: close\r\n" in wire.sent
    made.connection_lost(None)
