"""
Real proxies in front of a real Server, which never executes a request that the proxy did not send.

Each attack hides a token request in another request. The hidden request has its own `X-Forwarded-For`, which the Server would
trust if it executed the request, since it trusts the proxy; a refusal with that address would show it. (A request that the proxy
recognises, and sends with the address of its client, is not hidden.)
"""

import asyncio
import base64
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.peers.front_proxies import FRONT_PROXIES
from tests.peers.proxies import PEERS
from tests.processes import STARTED, Site

# Clients' addresses: not the proxies', and a different one for each client, so that the Server limits none of them.
CLIENTS = "127.1."
FORGED = "198.51."
_FORM = b"grant_type=client_credentials"


def request_for_a_token(worker_id: str, *headers: bytes) -> bytes:
    """Return a request that the Server refuses; the refusal names the Worker ID and an address."""
    credentials = base64.b64encode(f"{worker_id}:wrong".encode())
    lines = [
        b"POST /oauth2/token HTTP/1.1",
        b"Host: lyftdata.example",
        b"Authorization: Basic " + credentials,
        b"Content-Type: application/x-www-form-urlencoded",
        b"Content-Length: %d" % len(_FORM),
        *headers,
    ]
    return b"\r\n".join([*lines, b"", _FORM])


@dataclass(frozen=True)
class Attack:
    """
    A way to hide a request: headers that announce a body, and how that body begins and ends.

    `%(length)d` is the length of the whole body.
    """

    headers: bytes
    begin: bytes = b""
    end: bytes = b""
    version: bytes = b"1.1"
    method: bytes = b"POST"

    def pieces(self, path: bytes, hidden: bytes) -> tuple[bytes, bytes]:
        """Return head and body."""
        body = self.begin + hidden + self.end
        headers = self.headers.replace(b"%(length)d", b"%d" % len(body)).replace(
            b"%(begin)d", b"%d" % len(self.begin)
        )
        line = b"%s %s HTTP/%s\r\nHost: lyftdata.example\r\n" % (self.method, path, self.version)
        return line + b"Content-Type: application/x-www-form-urlencoded\r\n" + headers + b"\r\n", body


_LENGTH = b"Content-Length: %(length)d\r\n"
_CHUNKED = b"Transfer-Encoding: chunked\r\n"
_NO_CHUNK = b"0\r\n\r\n"

ATTACKS = {
    # The original case: an upgrade offer, with head and body sent separately.
    "h2c": Attack(
        b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA\r\n"
        + _LENGTH
    ),
    "websocket": Attack(
        b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
        + _LENGTH
    ),
    "upgrade": Attack(b"Connection: Upgrade\r\nUpgrade: foo\r\n" + _LENGTH),
    "upgrade, chunks": Attack(b"Connection: Upgrade\r\nUpgrade: foo\r\n" + _CHUNKED, b"1\r\na\r\n0\r\n\r\n"),
    "upgrade by GET": Attack(b"Connection: Upgrade\r\nUpgrade: foo\r\n" + _LENGTH, method=b"GET"),
    "length and chunks": Attack(_LENGTH + _CHUNKED, _NO_CHUNK),
    "chunks and length": Attack(_CHUNKED + _LENGTH, _NO_CHUNK),
    "chunks and a shorter length": Attack(_CHUNKED + b"Content-Length: %(begin)d\r\n", _NO_CHUNK),
    "two lengths": Attack(_LENGTH + b"Content-Length: 0\r\n"),
    "two lengths, the shorter first": Attack(b"Content-Length: 0\r\n" + _LENGTH),
    "a list of lengths": Attack(b"Content-Length: %(length)d, 0\r\n"),
    "a length with a sign": Attack(b"Content-Length: +%(length)d\r\n"),
    "a length in hexadecimal": Attack(b"Content-Length: 0x0\r\n" + _LENGTH),
    "a space after the length's name": Attack(b"Content-Length : 0\r\n" + _LENGTH),
    "a length on a folded line": Attack(b"X: a\r\n Content-Length: 0\r\n" + _LENGTH),
    "a length after a bare line feed": Attack(b"X: a\nContent-Length: 0\r\n" + _LENGTH),
    "a length after a bare carriage return": Attack(b"X: a\rContent-Length: 0\r\n" + _LENGTH),
    "a length after a NUL": Attack(b"X: a\x00\r\nContent-Length: 0\r\n" + _LENGTH),
    "a length by an underscore": Attack(b"Content_Length: 0\r\n" + _LENGTH),
    "a length in a header named by Connection": Attack(b"Connection: Content-Length\r\n" + _LENGTH),
    "an unknown coding": Attack(b"Transfer-Encoding: xchunked\r\n" + _LENGTH, _NO_CHUNK),
    "two codings": Attack(_CHUNKED + b"Transfer-Encoding: identity\r\n" + _LENGTH, _NO_CHUNK),
    "a list of codings": Attack(b"Transfer-Encoding: identity, chunked\r\n" + _LENGTH, _NO_CHUNK),
    "an unfinished list of codings": Attack(b"Transfer-Encoding: chunked,\r\n" + _LENGTH, _NO_CHUNK),
    "a coding with a parameter": Attack(b"Transfer-Encoding: chunked;a=b\r\n" + _LENGTH, _NO_CHUNK),
    "a coding after a vertical tab": Attack(b"Transfer-Encoding: \x0bchunked\r\n" + _LENGTH, _NO_CHUNK),
    "a space after the coding's name": Attack(b"Transfer-Encoding : chunked\r\n" + _LENGTH, _NO_CHUNK),
    "a coding by an underscore": Attack(b"Transfer_Encoding: chunked\r\n" + _LENGTH, _NO_CHUNK),
    "a coding on a folded line": Attack(b"Transfer-Encoding:\r\n chunked\r\n" + _LENGTH, _NO_CHUNK),
    "a coding after a bare line feed": Attack(b"X: a\nTransfer-Encoding: chunked\r\n" + _LENGTH, _NO_CHUNK),
    "a coding named by Connection": Attack(b"Connection: Transfer-Encoding\r\n" + _CHUNKED, _NO_CHUNK),
    "chunks in HTTP/1.0": Attack(_CHUNKED + _LENGTH, _NO_CHUNK, version=b"1.0"),
    "chunks in HTTP/1.0 alone": Attack(b"Connection: keep-alive\r\n" + _CHUNKED, _NO_CHUNK, version=b"1.0"),
    "a line feed in a chunk's extension": Attack(_CHUNKED, b"2;\nxx\r\n%x\r\n" % 9, b"\r\n0\r\n\r\n"),
    "a chunk's size ended by a line feed": Attack(_CHUNKED, b"0\n\r\n"),
    "an end of line feeds": Attack(_CHUNKED, b"0\r\n\n"),
    "a chunk's size beyond 64 bits": Attack(_CHUNKED, b"10000000000000000\r\n\r\n"),
    "a chunk's size with a sign": Attack(_CHUNKED, b"-0\r\n\r\n"),
    "a chunk's size in C": Attack(_CHUNKED, b"0x0\r\n\r\n"),
    "a chunk's size after a space": Attack(_CHUNKED, b" 0\r\n\r\n"),
    "a chunk with more than its size": Attack(_CHUNKED, b"1\r\naXX0\r\n\r\n"),
    "a length as a trailer": Attack(_CHUNKED, b"0\r\nContent-Length: 0\r\n\r\n"),
    "an offer as a trailer": Attack(_CHUNKED, b"0\r\nConnection: Upgrade\r\nUpgrade: foo\r\n\r\n"),
    "GET": Attack(_LENGTH, method=b"GET"),
    "HEAD": Attack(_LENGTH, method=b"HEAD"),
    "DELETE": Attack(_LENGTH, method=b"DELETE"),
    "OPTIONS": Attack(_LENGTH, method=b"OPTIONS"),
    "TRACE": Attack(_LENGTH, method=b"TRACE"),
    "CONNECT": Attack(_LENGTH, method=b"CONNECT"),
    "PRI": Attack(_LENGTH, method=b"PRI"),
    "an expectation": Attack(b"Expect: 100-continue\r\n" + _LENGTH),
    "an unknown expectation": Attack(b"Expect: y 100-continue\r\n" + _LENGTH),
    "the end of the connection": Attack(b"Connection: close\r\n" + _LENGTH),
    "HTTP/2 in the first line": Attack(_LENGTH, version=b"2.0"),
    "HTTP/1.0": Attack(b"Connection: keep-alive\r\n" + _LENGTH, version=b"1.0"),
    "two hosts": Attack(b"Host: other.example\r\n" + _LENGTH),
    "a request without a body": Attack(b"", b"\r\n"),
}
# What follows these is a separate request by any interpretation.
REALLY_ENDED = {
    "upgrade, chunks",
    "a coding named by Connection",
    "an offer as a trailer",
    "a request without a body",
}
# A path whose endpoint reads the body, one whose endpoint does not, one that does not exist, and absolute URLs.
PATHS = [
    b"/oauth2/token",
    b"/auth/verify",
    b"/nowhere",
    b"http://lyftdata.example/oauth2/token",
    b"http://other.example/nowhere",
]
# Between head and body; makes it likely, but not certain, that they are read separately. No test depends on it.
PAUSES_S = [0.0, 0.05]


async def send(port: int, client: str, pieces: tuple[bytes, bytes], pause_s: float) -> None:
    """Send head and body, then a separate request, and read until everything is answered or the connection is closed."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(client, 0))
    try:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(pause_s)
        async with asyncio.timeout(1):
            await reader.read(65_536)
            # A proxy that shares connections sends a request like this one after the body, for the next client.
            writer.write(b"GET /healthz HTTP/1.1\r\nHost: lyftdata.example\r\nConnection: close\r\n\r\n")
            while await reader.read(65_536):
                pass
    except (OSError, TimeoutError):
        pass
    finally:
        writer.close()


async def attack(port: int, *, clients: str = CLIENTS) -> int:
    """
    Try all attacks, a few at a time; return how many hidden requests were sent.

    Args:
        port: The port to connect to.
        clients: The client's address, or the prefix of a different address for each request.
    """
    at_once = asyncio.Semaphore(24)
    count = 0
    async with asyncio.TaskGroup() as group:
        for name, how in ATTACKS.items():
            for path in PATHS:
                for pause_s in PAUSES_S:
                    count += 1
                    of_its_own = f"{count // 250}.{count % 250}"
                    client = clients + of_its_own if clients.endswith(".") else clients
                    forged = f"X-Forwarded-For: {FORGED}{of_its_own}".encode()
                    hidden = request_for_a_token(f"hidden-{name.replace(' ', '-')}", forged)
                    sent = send(port, client, how.pieces(path, hidden), pause_s)
                    group.create_task(_bounded(at_once, sent))
    return count


async def _bounded(at_once: asyncio.Semaphore, doing: Any) -> None:
    async with at_once:
        await doing


class TrustingServer:
    """A Server that trusts proxies on this machine, and its refusals."""

    def __init__(self, root: Path) -> None:
        self.site = Site(root, LYFTDATA_TRUSTED_PROXIES="127.0.0.1")

    @property
    def port(self) -> int:
        """Return its port."""
        return self.site.port

    def refused(self, address: str) -> list[str]:
        """Return the Worker IDs in token requests that were refused for addresses with this prefix."""
        events = self.site.server.events("refused")
        return [event["claimed_worker"] for event in events if event["address"].startswith(address)]

    def ask(self, port: int, worker_id: str, *headers: bytes, client: str) -> bytes:
        """Request a token with a wrong key, without an attack; return the status."""

        async def ask() -> bytes:
            reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(client, 0))
            writer.write(request_for_a_token(worker_id, *headers))
            answer = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 180)
            writer.close()
            return answer.split()[1]

        return asyncio.run(ask())

    def close(self) -> None:
        """End the Server."""
        self.site.server.kill()
        STARTED.remove(self.site.server)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TrustingServer]:
    """Return a Server without a proxy."""
    running = TrustingServer(tmp_path_factory.mktemp("server"))
    yield running
    running.close()


@pytest.fixture(scope="module", params=FRONT_PROXIES)
def behind(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[TrustingServer, int]]:
    """Return a Server and the port of a proxy in front of it, for each proxy; a new Server each time, since it records limited refusals."""
    running = TrustingServer(tmp_path_factory.mktemp("server"))
    peer = FRONT_PROXIES[request.param](tmp_path_factory.mktemp("proxy"), running.port)
    yield running, peer.port
    peer.close()
    PEERS.remove(peer)
    running.close()


def test_no_request_can_be_hidden_from_a_proxy(behind):
    """No request in the body of another, or after an ambiguous one, is executed with an address that it claims itself."""
    server, port = behind

    assert asyncio.run(attack(port)) == len(ATTACKS) * len(PATHS) * len(PAUSES_S)

    assert server.refused(FORGED) == []


HONEST = {
    "nothing": (),
    "an address": (b"X-Forwarded-For: 198.51.0.1",),
    "addresses": (b"X-Forwarded-For: 198.51.0.1, 127.0.0.1", b"X-Forwarded-For: ::1"),
    # Asks the proxy to remove that header.
    "no address": (b"Connection: close, X-Forwarded-For",),
}


@pytest.mark.parametrize("forwarded", HONEST)
def test_the_server_records_the_address_that_the_proxy_saw(behind, forwarded):
    """Whatever address the client claims; a proxy may also reject the request."""
    server, port = behind
    worker_id = f"says-{forwarded.replace(' ', '-')}"
    client = f"{CLIENTS}255.{1 + list(HONEST).index(forwarded)}"

    status = server.ask(port, worker_id, *HONEST[forwarded], client=client)

    assert (status, server.refused("").count(worker_id)) in [(b"401", 1), (b"400", 0)]
    assert server.refused(client) == [worker_id] * server.refused("").count(worker_id)


def test_no_request_can_be_hidden_from_the_server(server):
    """Even from a trusted address, a hidden request is executed only if the request before it has really ended."""
    asyncio.run(attack(server.port, clients="127.0.0.1"))

    assert set(server.refused(FORGED)) <= {f"hidden-{name.replace(' ', '-')}" for name in REALLY_ENDED}
