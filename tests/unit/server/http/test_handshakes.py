"""The time limit of a TLS handshake."""

import asyncio
import ssl

import pytest
import uvloop
from tests.certificates import self_signed

from lyftdata.server.http import handshakes
from lyftdata.server.http.handshakes import with_bounded_handshakes

HALF_A_HELLO = bytes.fromhex("160301020001")


@pytest.mark.parametrize("loop", [uvloop.Loop, asyncio.SelectorEventLoop])
@pytest.mark.parametrize("sent", [b"", HALF_A_HELLO])
def test_an_unfinished_handshake_is_closed(tmp_path, monkeypatch, loop, sent):
    """Without a ClientHello or with half of one, with either event loop; a client that completes it is served."""
    monkeypatch.setattr(handshakes, "HANDSHAKE_WITHIN_S", 0.5)
    cert, key = self_signed(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)

    async def talk() -> tuple[bytes, bytes]:
        server = await asyncio.start_server(
            lambda _reader, writer: writer.write(b"hello"), "127.0.0.1", 0, ssl=context
        )
        address = server.sockets[0].getsockname()
        reader, writer = await asyncio.open_connection(*address)
        writer.write(sent)
        trusting = ssl.create_default_context(cafile=cert)
        whole, whole_writer = await asyncio.open_connection(
            *address, ssl=trusting, server_hostname="localhost"
        )
        async with asyncio.timeout(180):
            answer = await whole.readexactly(5), await reader.read()
        for each in (writer, whole_writer):
            each.close()
        server.close()
        return answer

    with asyncio.Runner(loop_factory=with_bounded_handshakes(loop)) as runner:
        assert runner.run(talk()) == (b"hello", b"")
