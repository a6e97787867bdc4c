"""A certificate that is renewed on disk is used without a restart."""

import asyncio
import ssl
from types import SimpleNamespace
from typing import Any

import pytest
from tests.certificates import self_signed

from lyftdata import certificate_reload


async def served_certificate(port):
    """Return the certificate that a new connection gets."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    shown = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.close()
    await writer.wait_closed()
    return shown


@pytest.fixture
async def serving(tmp_path, monkeypatch):
    """Serve TLS with a watched certificate; return the port and the files."""
    monkeypatch.setattr(certificate_reload, "_CERT_CHECK_EVERY_S", 0.01)
    cert, key = self_signed(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    listener = await asyncio.start_server(lambda _reader, writer: writer.close(), "127.0.0.1", 0, ssl=context)
    server: Any = SimpleNamespace(config=SimpleNamespace(ssl=context))
    watcher = asyncio.create_task(certificate_reload._watch_certificate(server, cert, key))
    yield listener.sockets[0].getsockname()[1], cert, key
    watcher.cancel()
    await asyncio.gather(watcher, return_exceptions=True)
    listener.close()
    await listener.wait_closed()


async def test_a_renewed_certificate_is_served(serving, tmp_path):
    """To new connections, once both the certificate and its key are replaced."""
    port, cert, key = serving
    first = await served_certificate(port)
    (tmp_path / "new").mkdir()
    new_cert, new_key = self_signed(tmp_path / "new")
    new_cert.replace(cert)
    await asyncio.sleep(0.05)
    assert await served_certificate(port) == first

    new_key.replace(key)

    async with asyncio.timeout(180):
        while await served_certificate(port) == first:
            await asyncio.sleep(0.01)
