"""The Server's HTTP protocol over real sockets, in front of an application that records each request."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import uvicorn
from starlette.responses import PlainTextResponse
from uvicorn.server import ServerState

from lyftdata.server.http.protocol import BoundedHttpProtocol


@dataclass(frozen=True)
class Received:
    """A request as the application received it, once its body was complete."""

    method: str
    target: bytes
    body: bytes = b""
    headers: tuple[tuple[bytes, bytes], ...] = field(default=(), compare=False)


class Recorder:
    """
    An ASGI application that answers `ok` to every request.

    Args:
        reads_first: Whether it reads the body before it answers; otherwise requests are recorded without a body.
    """

    def __init__(self, *, reads_first: bool = True) -> None:
        self.received: list[Received] = []
        self._reads_first = reads_first

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Record a request and answer it."""
        body = bytearray()
        more_body = self._reads_first
        while more_body:
            message = await receive()
            if message["type"] != "http.request":
                return
            body += message["body"]
            more_body = message["more_body"]
        query = b"?" + scope["query_string"] if scope["query_string"] else b""
        target = scope["raw_path"] + query
        self.received.append(Received(scope["method"], target, bytes(body), tuple(scope["headers"])))
        await PlainTextResponse("ok")(scope, receive, send)


class Connection:
    """One connection to the protocol."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, *pieces: bytes) -> bool:
        """Send each piece separately; return False if the other side has closed."""
        for piece in pieces:
            self.writer.write(piece)
            try:
                await self.writer.drain()
            except OSError:
                return False
        return True

    async def answer(self) -> bytes:
        """Return the head of the next answer."""
        return await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), 180)

    async def closed(self) -> bytes:
        """Wait until the other side closes; return what it sent before."""
        with contextlib.suppress(ConnectionResetError):
            return await asyncio.wait_for(self.reader.read(), 180)
        return b""


def new_protocol(app: Any) -> BoundedHttpProtocol:
    """Return the protocol for one connection."""
    # Without an access log, like the Server: with one, no answer would be sent in one step.
    config = uvicorn.Config(app, lifespan="off", log_config=None, access_log=False, timeout_keep_alive=75)
    config.load()
    return BoundedHttpProtocol(config=config, server_state=ServerState(), app_state={})


@contextlib.asynccontextmanager
async def connected(app: Any, **tls: Any) -> AsyncIterator[Connection]:
    """
    Serve an application on a free port and connect to it.

    Args:
        app: The application.
        tls: `server` and `client`, an SSL context each, to use TLS.
    """
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: new_protocol(app), "127.0.0.1", 0, ssl=tls.get("server"))
    host, port = server.sockets[0].getsockname()[:2]
    reader, writer = await asyncio.open_connection(host, port, ssl=tls.get("client"))
    try:
        yield Connection(reader, writer)
    finally:
        writer.close()
        server.close()
        await server.wait_closed()


class Wire(asyncio.Transport):
    """A transport without a socket that keeps what is sent."""

    def __init__(self) -> None:
        super().__init__()
        self.sent = b""
        self._closing = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Keep what is sent."""
        self.sent += data

    def close(self) -> None:
        """Record that it was closed."""
        self._closing = True

    def abort(self) -> None:
        """Record that it was closed."""
        self._closing = True

    def is_closing(self) -> bool:
        """Return whether it was closed."""
        return self._closing

    def pause_reading(self) -> None:
        """Do nothing: the test passes on each piece itself."""

    def resume_reading(self) -> None:
        """Do nothing."""


async def read_in_pieces(pieces: Sequence[bytes]) -> tuple[list[Received], bytes, bool]:
    """
    Give the protocol exactly these pieces, one read each, which a socket does not guarantee.

    Returns:
        The requests that reached the application complete, what was answered, and whether the connection is closed.
    """
    app = Recorder()
    protocol = new_protocol(app)
    wire = Wire()
    protocol.connection_made(wire)
    for piece in pieces:
        # Even if closed: a TLS connection that still has something to send is read until it is gone.
        protocol.data_received(piece)
        # Until the application has done all that it can with this piece, and the next request has started.
        for _ in range(20):
            await asyncio.sleep(0)
    closed = wire.is_closing()
    protocol.connection_lost(None)
    for _ in range(5):
        await asyncio.sleep(0)
    return app.received, wire.sent, closed
