"""Reading a request's body, whenever it arrives."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from urllib.parse import parse_qsl

import pytest
import uvicorn
from hypothesis import example, given
from hypothesis import strategies as st
from starlette.requests import Request
from uvicorn.server import ServerState

from lyftdata.server.http import request_body
from lyftdata.server.http.oauth_errors import OAuthError
from lyftdata.server.http.protocol import BoundedHttpProtocol
from lyftdata.server.http.request_body import MAX_BODY_BYTES, parse_form, read_body
from lyftdata.server.http.responses import RawResponse
from lyftdata.server.http.whole_answer import Head

HEAD = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n"


@pytest.fixture
async def line(monkeypatch) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """Return a connection to a server that answers with the body it received, or with the error."""
    monkeypatch.setattr(request_body, "_BODY_WITHIN_S", 0.3)

    async def echo(scope, receive, send):
        try:
            answer = RawResponse(200, Head(), await read_body(Request(scope, receive)))
        except OAuthError as error:
            answer = RawResponse(error.status, Head(), error.message.encode())
        await answer(scope, receive, send)

    config = uvicorn.Config(echo, lifespan="off", log_config=None)
    config.load()
    state = ServerState()
    listening = await asyncio.get_running_loop().create_server(
        lambda: BoundedHttpProtocol(config=config, server_state=state, app_state={}), "127.0.0.1", 0
    )
    reader, writer = await asyncio.open_connection(*listening.sockets[0].getsockname())
    yield reader, writer
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()
    listening.close()
    await asyncio.gather(*state.tasks, return_exceptions=True)


async def answered(reader) -> tuple[int, bytes]:
    """Return the status and the body of an answer."""
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 180)
    fields = dict(line.split(b": ", 1) for line in head.split(b"\r\n")[1:] if line)
    return int(head.split()[1]), await reader.readexactly(int(fields[b"content-length"]))


async def test_a_body_that_arrives_with_its_head_is_read(line):
    """The usual case; the connection then serves the next request."""
    reader, writer = line
    for body in (b"first", b"", b"second"):
        writer.write(HEAD % len(body) + body)
        assert await answered(reader) == (200, body)


async def test_a_body_that_arrives_in_pieces_is_read_completely(line):
    """Whether the Server had to wait for a piece or not."""
    reader, writer = line
    for pieces in ([b"", b"late"], [b"half ", b"and half"], [b"", b"a", b"b", b"c"]):
        writer.write(HEAD % sum(map(len, pieces)) + pieces[0])
        for piece in pieces[1:]:
            await writer.drain()
            await asyncio.sleep(0.02)
            writer.write(piece)
        assert await answered(reader) == (200, b"".join(pieces))


@pytest.mark.parametrize("begun", [b"", b"some"])
async def test_a_body_that_does_not_end_times_out(line, begun):
    """With 408, whether it had begun or not."""
    reader, writer = line
    writer.write(HEAD % 100 + begun)

    assert (await answered(reader))[0] == 408


@pytest.mark.parametrize(("size", "status"), [(MAX_BODY_BYTES, 200), (MAX_BODY_BYTES + 1, 413)])
async def test_a_body_is_limited_to_16_kib(line, size, status):
    """One byte more is rejected."""
    reader, writer = line
    writer.write(HEAD % size + b"x" * size)

    assert (await answered(reader))[0] == status


async def test_a_disconnected_client_is_not_waited_for():
    """What it sent before does not count as a body."""

    async def receive():
        return {"type": "http.disconnect"}

    with pytest.raises(OAuthError, match="went away"):
        await read_body(Request({"type": "http", "headers": []}, receive))


@given(st.text("ab=&%+;2Bé\n ", max_size=30).map(str.encode))
@example(b"&".join(b"a%d=1" % number for number in range(20)))
@example(b"&".join(b"a%d=1" % number for number in range(21)))
@example(b"&" * 40)
def test_a_form_is_parsed_as_by_the_standard_library(body):
    """Our fast path for a form without escapes makes no difference, and the limit on fields is the same."""
    try:
        expected = parse_qsl(body.decode("ascii"), keep_blank_values=True, max_num_fields=20, errors="strict")
    except ValueError:
        with pytest.raises(OAuthError):
            parse_form(body)
        return

    assert parse_form(body) == expected
