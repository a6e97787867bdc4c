"""
Who a service takes a request to be from, when the client has sent the identity headers itself, under every spelling.

Every proxy of examples/ in front of real services in four styles: what the client has sent is not read, and what the Server says is.
"""

import contextlib
import re
import socket
import threading
from collections.abc import Iterator
from itertools import product

import pytest
from tests.peers.backends import BACKENDS, Backend, start_asgi
from tests.peers.guarded import Fleet
from tests.peers.proxies import Peer
from tests.peers.proxy_kinds import HOST, KINDS, Around, Kind, start_traefik

PARTS = ("Id", "Name", "Strategy", "Labels")
# What RFC 9110, section 5.6.2, allows in a name besides letters, digits and the hyphen; and some that it does not.
ALLOWED = "!#$%&'*+.^_`|~"
NOT_ALLOWED = ' \t"(),/;<=>?@[\\]{}\x7f\x80\xff\0'


def _spelled(part: str, *separators: str) -> str:
    first, second, third = separators
    return f"X{first}Lyftdata{second}Worker{third}{part}"


def _spellings(part: str, character: str) -> list[str]:
    """Return the names in which this character stands for some of the hyphens, and for all."""
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


class Fronted:
    """A service of some style behind a proxy of some make."""

    def __init__(self, kind: Kind, fleet: Fleet, backend: Backend, peer: Peer) -> None:
        self.kind = kind
        self.backend = backend
        self._token = fleet.token("plain", for_the_service=kind.for_the_service)
        self._port = peer.port

    def ask(self, names: list[str]) -> tuple[int, str]:
        """Ask as the Worker `plain`, which has no labels, with these headers; return status and body."""
        forged = "".join(f"{name}: forged\r\n" for name in names)
        # Before the token and after it: which of two is taken must not depend on their order.
        request = (
            f"GET / HTTP/1.1\r\nHost: {HOST}\r\n{forged}Authorization: Bearer {self._token}\r\n{forged}"
            "Connection: close\r\n\r\n"
        )
        return exchange(self._port, request)

    def identity(self, answer: str) -> list[str]:
        """Return ID, name, strategy and labels as the service reads them."""
        return [self.backend.read(answer, part) for part in PARTS]

    def expected(self) -> list[str]:
        """Return what the Server says."""
        return ["plain", "plain" if self.kind.passes_name else "", "api_key", ""]


def exchange(port: int, request: str) -> tuple[int, str]:
    """Send a request as it is; return status and body of the answer."""
    with socket.create_connection(("127.0.0.1", port), timeout=180) as connection:
        connection.sendall(request.encode("latin-1"))
        answer = b""
        while chunk := connection.recv(65_536):
            answer += chunk
    head, _, body = answer.decode("latin-1").partition("\r\n\r\n")
    if "chunked" in head.lower():
        body = "".join(body.split("\r\n")[1::2])
    return int(head.split()[1]) if head else 400, body


@pytest.fixture(scope="module", params=BACKENDS)
def backend(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backend]:
    """Return a service."""
    opened = BACKENDS[request.param](tmp_path_factory.mktemp(request.param))
    yield opened
    opened.close()


@pytest.fixture(scope="module", params=KINDS)
def fronted(
    request: pytest.FixtureRequest, fleet: Fleet, backend: Backend, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Fronted]:
    """Return that service behind a proxy."""
    kind = KINDS[request.param]
    root = tmp_path_factory.mktemp(request.param)
    peer = kind.start(Around(root, fleet.site.port, backend.port, resource_key=fleet.resource_key))
    yield Fronted(kind, fleet, backend, peer)
    peer.close()


def test_the_service_reads_who_the_worker_is(fronted):
    """Without anything forged: the identity that the Server has given."""
    status, answer = fronted.ask([])

    assert status == 200
    assert fronted.identity(answer) == fronted.expected()


@pytest.mark.parametrize("separator", ["-_", "cases", *ALLOWED])
def test_a_forged_identity_is_not_read(fronted, separator):
    """Under any spelling, any number of times and in any order: the service reads the Server's identity headers, not the client's."""
    spelled = _cases if separator == "cases" else lambda part: _spellings(part, separator[-1])
    names = [name for part in PARTS for name in spelled(part)]

    status, answer = fronted.ask(names)

    # A whole request may be refused for a strange name, but not for one that a program could send by mistake.
    assert status == 200 or separator not in {"-_", "cases"}
    if status == 200:
        assert fronted.identity(answer) == fronted.expected()
        # Nor does it pass under a name that another service might take for ours.
        assert "forged" not in answer or separator == "cases"


@pytest.mark.parametrize("character", NOT_ALLOWED, ids=[f"{ord(c):#04x}" for c in NOT_ALLOWED])
def test_a_forged_identity_is_not_read_from_a_broken_name(fronted, character):
    """A character that no name may hold does not get one past the proxy either; most proxies refuse the whole request."""
    names = [name for part in PARTS for name in _spellings(part, character)[1:]]

    status, answer = fronted.ask(names)

    if status == 200:
        assert fronted.identity(answer) == fronted.expected()
        assert "forged" not in answer


@pytest.mark.parametrize(("character", "is_read"), [("_", False), (".", True)])
def test_traefik_needs_its_static_option(fleet, tmp_path, character, is_read):
    """Without `aliasHeadersStrategy` spellings with underscores are still removed, and those with dots are not: PHP reads them."""
    (tmp_path / "php").mkdir()
    service = BACKENDS["php"](tmp_path / "php")
    peer = start_traefik(
        Around(tmp_path, fleet.site.port, service.port), without="      aliasHeadersStrategy: delete\n"
    )
    fronted = Fronted(KINDS["traefik"], fleet, service, peer)

    status, answer = fronted.ask([_spelled("Id", *(character * 3))])

    assert status == 200
    assert ("forged" in service.read(answer, "Id")) == is_read
    peer.close()
    service.close()


class Listener:
    """A service that keeps the bytes that it is sent, and answers once a chunked body, trailers included, or 3 bytes are there."""

    def __init__(self) -> None:
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        self.heard: list[bytes] = []
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listening.accept()
                threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        heard = b""
        with connection, contextlib.suppress(OSError):
            while not self._is_whole(heard):
                chunk = connection.recv(65_536)
                if not chunk:
                    return
                heard += chunk
            self.heard.append(heard)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")

    @staticmethod
    def _is_whole(heard: bytes) -> bool:
        head, ended, body = heard.partition(b"\r\n\r\n")
        if b"chunked" in head.lower():
            return re.search(rb"(^|\r\n)0\r\n(.+\r\n)*\r\n$", body) is not None
        return bool(ended) and (b"content-length: 3" not in head.lower() or body == b"abc")

    def close(self) -> None:
        """End it."""
        self._listening.close()


TRAILERS = "X-Lyftdata-Worker-Id: forged\r\nX_Lyftdata_Worker_Id: forged\r\n"


def chunked(token: str, *, trailers: str) -> str:
    """Return a request with a chunked body, and with trailers."""
    return (
        f"POST / HTTP/1.1\r\nHost: {HOST}\r\nAuthorization: Bearer {token}\r\nTransfer-Encoding: chunked\r\n"
        "Trailer: X-Lyftdata-Worker-Id\r\nTE: trailers\r\nConnection: close, TE\r\n\r\n"
        f"3\r\nabc\r\n0\r\n{trailers}\r\n"
    )


@pytest.mark.parametrize("make", KINDS)
def test_no_trailer_reaches_the_service(fleet, tmp_path, run_script, make):
    """What a client sends after a body, over HTTP/1.1 or HTTP/2, is dropped; HAProxy, which cannot, rejects such bodies."""
    kind = KINDS[make]
    service = Listener()
    peer = kind.start(Around(tmp_path, fleet.site.port, service.port, resource_key=fleet.resource_key))
    token = fleet.token("plain", for_the_service=kind.for_the_service)
    service.heard.clear()

    status, _ = exchange(peer.port, chunked(token, trailers=TRAILERS))
    without_trailers, _ = exchange(peer.port, chunked(token, trailers=""))
    over_http2 = run_script("http2_trailers.mjs", port=peer.port, host=HOST, token=token)

    assert (status, without_trailers) == ((411, 411) if make == "haproxy" else (200, 200))
    # The rest speak HTTP/2 over TLS only, if at all.
    speaks_http2 = {"haproxy": 505, "traefik": 200, "envoy": 200, "envoy_jwt": 200}
    assert over_http2.get("status") == speaks_http2.get(make)
    assert len(service.heard) == (0 if make == "haproxy" else 3 if make in speaks_http2 else 2)
    for heard in service.heard:
        assert re.findall(rb"(?i)^x-lyftdata-worker-id: (.*)\r$", heard, re.MULTILINE) == [b"plain"]
        assert b"forged" not in heard
    peer.close()
    service.close()


def test_a_service_on_uvicorn_would_take_a_trailer_for_a_header(tmp_path):
    """Why trailers must not reach it: with httptools, uvicorn appends them to the headers that the application reads."""
    service = start_asgi(tmp_path)

    status, answer = exchange(service.port, chunked("token", trailers=TRAILERS))

    assert status == 200
    assert service.read(answer, "Id") == "forged"
    service.close()


@pytest.mark.parametrize(("style", "character"), [("cgi", "~"), ("php", "."), ("wsgi", "_"), ("node", "-")])
def test_without_a_proxy_the_forged_identity_would_be_read(tmp_path, style, character):
    """The services are as trusting as real ones: it is the proxies that stand in between."""
    service = BACKENDS[style](tmp_path)
    name = _spelled("Id", "-", character, "-")

    status, answer = exchange(
        service.port, f"GET / HTTP/1.1\r\nHost: {HOST}\r\n{name}: forged\r\nConnection: close\r\n\r\n"
    )

    assert status == 200
    assert service.read(answer, "Id") == "forged"
    service.close()
