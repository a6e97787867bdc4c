"""
Which identity a service reads if the client has sent identity headers itself, in every spelling.

Every proxy of examples/ in front of real services in four styles: services read the Server's identity headers, not the client's.
"""

import contextlib
import re
import socket
import threading
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from http.client import BadStatusLine, HTTPResponse
from itertools import product

import pytest
from tests.peers.backends import BACKENDS, Backend, start_asgi
from tests.peers.guarded import Fleet
from tests.peers.proxies import Peer
from tests.peers.proxy_kinds import HOST, KINDS, Kind, ProxySetup, start_traefik
from tests.processes import until

PARTS = ("Id", "Name", "Strategy", "Labels")
# What RFC 9110, section 5.6.2, allows in a header name in addition to letters, digits and hyphens; and characters that it does not.
ALLOWED = "!#$%&'*+.^_`|~"
NOT_ALLOWED = ' \t"(),/;<=>?@[\\]{}\x7f\x80\xff\0'


def _spelled(part: str, *separators: str) -> str:
    first, second, third = separators
    return f"X{first}Lyftdata{second}Worker{third}{part}"


def _spellings(part: str, character: str) -> list[str]:
    """Return the names in which this character replaces some or all of the hyphens."""
    return [_spelled(part, *separators) for separators in product(f"-{character}", repeat=3)]


def _cases(part: str) -> list[str]:
    name = _spelled(part, "-", "-", "-")
    return [
        name,
        name.lower(),
        name.upper(),
        name.swapcase(),
        name,
        name.replace("-", "--"),
        f"HTTP-{name}",
        f"-{name}",
    ]


class Listener:
    """
    A service that records the bytes that it receives, and answers once it has a chunked body with its trailers, or 3 bytes.

    It accepts every offer: it switches to another protocol, and goes on reading after a CONNECT.
    """

    def __init__(self) -> None:
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        self.received: list[bytes] = []
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listening.accept()
                threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            received = self._read(connection)
            if received.startswith(b"CONNECT"):
                # By default, Go's server answers like to any other method, and continues to read.
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
                received = self._read(connection)
            offer = re.search(rb"(?im)^upgrade: *(.*?)\r$", received)
            if offer is None:
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                return
            connection.sendall(
                b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: %b\r\n\r\n" % offer[1]
            )
            self.received.append(connection.recv(65_536))

    def _read(self, connection: socket.socket) -> bytes:
        received = b""
        while not self._is_whole(received):
            chunk = connection.recv(65_536)
            if not chunk:
                raise ConnectionResetError
            received += chunk
        self.received.append(received)
        return received

    @staticmethod
    def _is_whole(received: bytes) -> bool:
        head, ended, body = received.partition(b"\r\n\r\n")
        if b"chunked" in head.lower():
            return re.search(rb"(^|\r\n)0\r\n(.+\r\n)*\r\n$", body) is not None
        return bool(ended) and (b"content-length: 3" not in head.lower() or body == b"abc")

    def close(self) -> None:
        """End it."""
        # `close` alone would not wake the thread that accepts. It could then take a connection of the next socket with the same number.
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()


class Fronted:
    """A proxy in front of a service that records every byte that reaches it."""

    def __init__(self, kind: Kind, fleet: Fleet, service: Listener, peer: Peer) -> None:
        self.kind = kind
        self.port = peer.port
        self.service = service
        self._fleet = fleet
        until(lambda: self.ask([], self.token())[0] == 200, "a Worker passes")

    def token(self) -> str:
        """Return a token of the Worker `plain`, which has no labels."""
        return self._fleet.token("plain", for_the_service=self.kind.for_the_service)

    def ask(self, names: Iterable[str], token: str) -> tuple[int, bytes]:
        """Send a request with these headers, forged; return the status, and what reached the service if it is 200."""
        self.service.received.clear()
        forged = "".join(f"{name}: forged\r\n" for name in names)
        # Before and after the token, since the result must not depend on the order.
        request = (
            f"GET / HTTP/1.1\r\nHost: {HOST}\r\n{forged}Authorization: Bearer {token}\r\n{forged}"
            "Connection: close\r\n\r\n"
        )
        status = exchange(self.port, request)
        reached = b"".join(self.service.received)
        assert bool(reached) == (status == 200)
        return status, reached

    def expected(self) -> list[str]:
        """Return the Server's values: ID, name, strategy and labels."""
        return ["plain", "plain" if self.kind.passes_name else "", "api_key", ""]


def exchange(port: int, request: str) -> int:
    """Send a raw request; return the status of the answer, or 400 if the connection is closed without one."""
    with socket.create_connection(("127.0.0.1", port), timeout=180) as connection:
        connection.sendall(request.encode("latin-1"))
        answer = HTTPResponse(connection)
        try:
            answer.begin()
        except (BadStatusLine, ConnectionError):
            return 400
        # Read the answer and not until the connection closes, since Envoy keeps it for a second after a rejected request.
        answer.read()
        return answer.status


def body_of_answer(port: int, request: bytes) -> str:
    """Send a raw request; return the body of the answer."""
    with socket.create_connection(("127.0.0.1", port), timeout=180) as connection:
        connection.sendall(request)
        answer = HTTPResponse(connection)
        answer.begin()
        assert answer.status == 200
        return answer.read().decode("latin-1")


def identity(backend: Backend, request: bytes) -> list[str]:
    """Return ID, name, strategy and labels as a service reads them from a request."""
    answer = body_of_answer(backend.port, request)
    return [backend.read(answer, part) for part in PARTS]


@pytest.fixture(scope="module")
def backends(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Backend]]:
    """Return a service of each style."""
    opened = {style: start(tmp_path_factory.mktemp(style)) for style, start in BACKENDS.items()}
    yield opened
    for backend in opened.values():
        backend.close()


@pytest.fixture(scope="module", params=KINDS)
def fronted(
    request: pytest.FixtureRequest, fleet: Fleet, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Fronted]:
    """Return a proxy of each kind."""
    kind = KINDS[request.param]
    service = Listener()
    setup = ProxySetup(
        tmp_path_factory.mktemp(request.param),
        fleet.site.port,
        service.port,
        resource_key=fleet.resource_key,
    )
    peer = kind.start(setup)
    yield Fronted(kind, fleet, service, peer)
    peer.close()
    service.close()


def misread(
    fronted: Fronted, backends: Mapping[str, Backend], spellings: Mapping[str, Iterable[str]]
) -> Iterator[tuple[object, ...]]:
    """
    Yield each fault: the spelling, the style of the service, and what it read.

    What a proxy passes on does not depend on the service, so each style is sent exactly the bytes that reached the listener.
    """
    token = fronted.token()
    for spelled, names in spellings.items():
        status, reached = fronted.ask(names, token)
        # A request may be refused for a strange name, but not for one that a program could send by mistake.
        if status != 200:
            if spelled in MUST_PASS:
                yield spelled, status
            continue
        # The value must not pass under any name that another service might read as an identity header.
        if b"forged" in reached and spelled != "cases":
            yield spelled, reached
        for style, backend in backends.items():
            read = identity(backend, reached)
            if read != fronted.expected():
                yield spelled, style, read


MUST_PASS = {"none", "-_", "cases"}


def test_the_service_reads_the_workers_identity(fronted, backends):
    """Without forged headers, it reads the identity that the Server gave."""
    assert list(misread(fronted, backends, {"none": []})) == []


def test_a_forged_identity_is_not_read(fronted, backends):
    """In any spelling, number and order: the service reads the Server's identity headers, not the client's."""
    spellings = {"cases": [name for part in PARTS for name in _cases(part)]} | {
        separator: [name for part in PARTS for name in _spellings(part, separator[-1])]
        for separator in ("-_", *ALLOWED)
    }

    assert list(misread(fronted, backends, spellings)) == []


def test_a_forged_identity_is_not_read_from_an_invalid_name(fronted, backends):
    """A header name with a forbidden character does not pass the proxy either; most proxies refuse the whole request."""
    spellings = {
        character: [name for part in PARTS for name in _spellings(part, character)[1:]]
        for character in NOT_ALLOWED
    }

    assert list(misread(fronted, backends, spellings)) == []


def test_traefik_needs_its_static_option(fleet, tmp_path, backends):
    """Without `aliasHeadersStrategy`, spellings with underscores are removed, but those with dots are not, and PHP reads them."""
    service = Listener()
    peer = start_traefik(
        ProxySetup(tmp_path, fleet.site.port, service.port), without="      aliasHeadersStrategy: delete\n"
    )
    fronted = Fronted(KINDS["traefik"], fleet, service, peer)

    read = {}
    for character in "_.":
        status, reached = fronted.ask([_spelled("Id", *(character * 3))], fronted.token())
        assert status == 200
        read[character] = identity(backends["php"], reached)[0]

    assert "forged" not in read["_"]
    assert "forged" in read["."]
    peer.close()
    service.close()


TRAILERS = "X-Lyftdata-Worker-Id: forged\r\nX_Lyftdata_Worker_Id: forged\r\n"


def chunked(token: str, *, trailers: str) -> str:
    """Return a request with a chunked body and trailers."""
    return (
        f"POST / HTTP/1.1\r\nHost: {HOST}\r\nAuthorization: Bearer {token}\r\nTransfer-Encoding: chunked\r\n"
        "Trailer: X-Lyftdata-Worker-Id\r\nTE: trailers\r\nConnection: close, TE\r\n\r\n"
        f"3\r\nabc\r\n0\r\n{trailers}\r\n"
    )


def test_no_trailer_reaches_the_service(fronted, run_script):
    """Trailers over HTTP/1.1 and HTTP/2 are dropped; HAProxy cannot drop them, and rejects chunked bodies."""
    token = fronted.token()
    make = next(name for name, kind in KINDS.items() if kind is fronted.kind)
    fronted.service.received.clear()

    status = exchange(fronted.port, chunked(token, trailers=TRAILERS))
    without_trailers = exchange(fronted.port, chunked(token, trailers=""))
    over_http2 = run_script("http2_trailers.mjs", port=fronted.port, host=HOST, token=token)

    assert (status, without_trailers) == ((411, 411) if make == "haproxy" else (200, 200))
    # The others use HTTP/2 only over TLS, if at all.
    speaks_http2 = {"haproxy": 505, "traefik": 200, "envoy": 200, "envoy_jwt": 200}
    assert over_http2.get("status") == speaks_http2.get(make)
    assert len(fronted.service.received) == (0 if make == "haproxy" else 3 if make in speaks_http2 else 2)
    for received in fronted.service.received:
        assert re.findall(rb"(?i)^x-lyftdata-worker-id: (.*)\r$", received, re.MULTILINE) == [b"plain"]
        assert b"forged" not in received


def test_a_service_on_uvicorn_would_read_a_trailer_as_a_header(tmp_path):
    """This is why trailers must not reach it: with httptools, uvicorn appends them to the headers that the application reads."""
    service = start_asgi(tmp_path)

    answer = body_of_answer(service.port, chunked("token", trailers=TRAILERS).encode())

    assert service.read(answer, "Id") == "forged"
    service.close()


@pytest.mark.parametrize(("style", "character"), [("cgi", "~"), ("php", "."), ("wsgi", "_"), ("node", "-")])
def test_without_a_proxy_the_forged_identity_would_be_read(backends, style, character):
    """The services trust headers like real ones: only the proxies prevent forgery."""
    name = _spelled("Id", "-", character, "-")
    request = f"GET / HTTP/1.1\r\nHost: {HOST}\r\n{name}: forged\r\nConnection: close\r\n\r\n"

    assert identity(backends[style], request.encode())[0] == "forged"


_SETTINGS = "HTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA\r\n"
_WEBSOCKET = "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
# First line and headers of requests that ask for a tunnel.
TUNNELS = {
    "h2c": f"GET / HTTP/1.1\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n{_SETTINGS}",
    "h2c, as curl spells it": f"GET / HTTP/1.1\r\nConnection: upgrade\r\nUPGRADE: H2C\r\n{_SETTINGS}",
    "h2c, the settings kept": f"GET / HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n{_SETTINGS}",
    "a list": "GET / HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket, h2c\r\n",
    "two offers": "GET / HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nUpgrade: h2c\r\n",
    "websocket": f"GET / HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n{_WEBSOCKET}",
    "another protocol": "GET / HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: foo\r\n",
    "TLS": "OPTIONS * HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: TLS/1.2\r\n",
    "HTTP/1.0": "GET / HTTP/1.0\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n",
    "CONNECT": f"CONNECT {HOST}:80 HTTP/1.1\r\n",
    "CONNECT, HTTP/1.0": f"CONNECT {HOST}:80 HTTP/1.0\r\nConnection: keep-alive\r\n",
    "CONNECT to a path": "CONNECT / HTTP/1.1\r\n",
    # httptools, and so uvicorn, ignores the length of a CONNECT, so that its body is the next request.
    "CONNECT with a body": f"CONNECT {HOST}:80 HTTP/1.1\r\nConnection: close\r\nContent-Length: LENGTH\r\n",
    "CONNECT with a body later": f"CONNECT {HOST}:80 HTTP/1.1\r\nConnection: close\r\nExpect: 100-continue\r\nContent-Length: LENGTH\r\n",
}


def test_the_service_reads_the_address_that_the_proxy_saw(fronted):
    """A client cannot set the address in X-Forwarded-For."""
    fronted.service.received.clear()
    forged = "X-Forwarded-For: 198.51.100.7\r\nX-Forwarded-For: 198.51.100.8\r\n"
    request = f"GET / HTTP/1.1\r\nHost: {HOST}\r\n{forged}Authorization: Bearer {fronted.token()}\r\nConnection: close\r\n\r\n"

    assert exchange(fronted.port, request) == 200

    (received,) = fronted.service.received
    # Envoy writes the address of its host for loopback.
    (address,) = re.findall(rb"(?im)^x-forwarded-for: *([0-9.]+)\r$", received)
    assert not address.startswith(b"198.51.")


def ask_for_a_tunnel(port: int, request: str, forged: str) -> bytes:
    """Send a request, and a second one after it whatever the answer; return everything that is received."""
    answer = b""
    # A proxy that refuses the first request may end the connection before the second one is sent.
    with (
        socket.create_connection(("127.0.0.1", port), timeout=180) as connection,
        contextlib.suppress(ConnectionError),
    ):
        connection.sendall(request.encode())
        answer = connection.recv(65_536)
        connection.sendall(forged.encode())
        while more := connection.recv(65_536):
            answer += more
    return answer


def test_no_client_gets_a_tunnel_to_the_service(fronted):
    """A Worker cannot use its own token to get a tunnel through the proxy, and then send the service another Worker's identity."""
    fronted.service.received.clear()
    token = fronted.token()

    def ask(name: str) -> bytes:
        forged = f"GET / HTTP/1.1\r\nHost: {HOST}\r\nX-Lyftdata-Worker-Id: forged by {name}\r\nConnection: close\r\n\r\n"
        offer = TUNNELS[name].replace("LENGTH", str(len(forged)))
        first = f"{offer}Host: {HOST}\r\nAuthorization: Bearer {token}\r\n\r\n"
        if "Content-Length" in offer:
            # A proxy may want the whole body before it answers.
            return ask_for_a_tunnel(fronted.port, first + forged, "")
        return ask_for_a_tunnel(fronted.port, first, forged)

    # Concurrently, since Envoy keeps a connection for a second after a rejected request.
    with ThreadPoolExecutor(len(TUNNELS)) as pool:
        answers = dict(zip(TUNNELS, pool.map(ask, TUNNELS), strict=True))

    assert [name for name, answer in answers.items() if b" 101 " in answer] == []
    received = b"".join(fronted.service.received)
    assert re.findall(b"forged by .*", received) == []
    assert re.findall(b"(?m)^CONNECT .*", received) == []
    # Only the request after the offer must not pass; a plain request of the same Worker does.
    assert fronted.ask([], fronted.token())[0] == 200
