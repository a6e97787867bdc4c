"""
Proxies that nobody here wrote check Workers in front of a service that knows nothing of us.

Each is Debian's package, started with the very file of examples/ that a person would copy, in front of a real service and beside
a real Server.
"""

import base64
import hashlib
import json
import re
import socket
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import httpx2
import pytest
import yaml
from joserfc import jws
from joserfc.jwk import ECKey
from tests.peers.proxies import (
    AUDIENCE,
    EXAMPLES,
    KINDS,
    PEERS,
    Around,
    Kind,
    Peer,
    Service,
    claims_of,
    example,
    program,
    server_signing_key,
    signed,
    signed_with_secret,
    unsigned,
    write_keys,
)
from tests.processes import STARTED, Site, free_port, until

NAME = 'Druckerei Süd "1"'
LABELS = "zone=eu-1"


class Fleet:
    """A Server, whose operator has allowed every Worker to have tokens for the service, a Worker `press` with labels and one, `plain`, without."""

    def __init__(self, root: Path) -> None:
        self.site = Site(root, LYFTDATA_WORKER_TOKEN_TTL="60s")
        self.operator = self.site.sign_in()
        self.operator.done("resources", "add", "service", "--audience", AUDIENCE, "--all-workers")
        self.resource_key = self.operator.done("resources", "issue-key", "service").strip()
        self.keys = {
            "press": self._add("press", NAME, "--label", LABELS),
            "plain": self._add("plain", "plain"),
        }

    def _add(self, worker_id: str, name: str, *more: str) -> str:
        return self.operator.done("workers", "add", name, "--id", worker_id, *more, "--issue-key").strip()

    def add_worker(self) -> str:
        """Add a Worker without labels, with a key of its own; return its ID."""
        worker_id = f"w-{uuid.uuid4().hex[:8]}"
        self.keys[worker_id] = self._add(worker_id, worker_id)
        return worker_id

    def token(
        self, worker_id: str = "press", *, for_the_service: bool = False, dpop: str | None = None
    ) -> str:
        """Return a worker token."""
        answer = self.ask_for_token(worker_id, for_the_service=for_the_service, dpop=dpop)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["access_token"])

    def ask_for_token(
        self, worker_id: str, *, for_the_service: bool = False, dpop: str | None = None
    ) -> httpx2.Response:
        """Ask for a worker token."""
        return httpx2.post(
            f"{self.site.url}/oauth2/token",
            auth=(worker_id, self.keys[worker_id]),
            data={"grant_type": "client_credentials"} | ({"resource": AUDIENCE} if for_the_service else {}),
            headers={} if dpop is None else {"DPoP": dpop},
            timeout=60,
        )

    def disable(self, worker_id: str) -> None:
        """Cut a Worker off."""
        self.operator.done("workers", "disable", worker_id, "--yes")

    def stop(self) -> None:
        """End the Server, and nobody else's."""
        self.site.server.kill()
        STARTED.remove(self.site.server)


class Proof:
    """A key to which a token can be bound, and proofs of its possession (RFC 9449)."""

    def __init__(self) -> None:
        self._key = ECKey.generate_key("P-256")

    def __call__(self, method: str, url: str, *, token: str = "", nonce: str = "") -> str:
        claims: dict[str, Any] = {
            "jti": uuid.uuid4().hex,
            "htm": method,
            "htu": url,
            "iat": int(time.time()),
        }
        if nonce:
            claims["nonce"] = nonce
        if token:
            digest = hashlib.sha256(token.encode()).digest()
            claims["ath"] = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
        header = {"alg": "ES256", "typ": "dpop+jwt", "jwk": self._key.as_dict(private=False)}
        return jws.serialize_compact(header, json.dumps(claims), self._key)

    def bound_token(self, fleet: Fleet, *, for_the_service: bool = False) -> str:
        """Return a token that is bound to the key."""
        url = f"{fleet.site.url}/oauth2/token"
        first = fleet.ask_for_token("press", for_the_service=for_the_service, dpop=self("POST", url))
        proof = self("POST", url, nonce=first.headers["DPoP-Nonce"])
        return fleet.token(for_the_service=for_the_service, dpop=proof)


class Guarded:
    """A service behind a proxy of some make."""

    def __init__(self, kind: Kind, fleet: Fleet, root: Path, *, server_port: int | None = None) -> None:
        self.kind = kind
        self.fleet = fleet
        self.service = Service()
        around = Around(
            root, server_port or fleet.site.port, self.service.port, resource_key=fleet.resource_key
        )
        self._opened: list[Peer | Service] = [self.service]
        self.peer = kind.start(around)
        self._opened.insert(0, self.peer)

    def token(self, worker_id: str = "press") -> str:
        """Return a token that is good here."""
        return self.fleet.token(worker_id, for_the_service=self.kind.for_the_service)

    def ask(
        self,
        token: str | None = None,
        *more: tuple[str, str],
        path: str = "/",
        method: str = "GET",
        scheme: str = "Bearer",
        body: bytes = b"",
    ) -> httpx2.Response:
        """Ask the service something, with a token if there is one."""
        given = [] if token is None else [("Authorization", f"{scheme} {token}")]
        return httpx2.request(method, self.peer.url + path, headers=[*given, *more], content=body, timeout=30)

    def reaches(self, token: str | None, *more: tuple[str, str]) -> bool:
        """Return whether a request reaches the service; if it does not, the answer is 401 or the proxy's own fault."""
        before = len(self.service.seen)
        answer = self.ask(token, *more)
        reached = len(self.service.seen) > before
        assert answer.status_code == 200 if reached else answer.status_code in {401, 500, 502, 503}, (
            answer.text
        )
        return reached

    def close(self) -> None:
        """End it."""
        for opened in self._opened:
            opened.close()


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """Return a Server and its Workers."""
    made = Fleet(tmp_path_factory.mktemp("fleet"))
    yield made
    # Whatever a test that failed has left, too.
    while PEERS:
        PEERS.pop().close()
    made.stop()


@pytest.fixture(scope="module", params=KINDS)
def guarded(
    request: pytest.FixtureRequest, fleet: Fleet, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Guarded]:
    """Return a service behind each of the proxies."""
    opened = Guarded(KINDS[request.param], fleet, tmp_path_factory.mktemp(request.param))
    yield opened
    opened.close()


@pytest.fixture
def stand_in(
    fleet: Fleet, tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[tuple[Guarded, Service]]:
    """Return a service behind a proxy that asks a Server which a test can break, and that one."""
    server = Service()
    server.status = 204
    opened = Guarded(KINDS[request.param], fleet, tmp_path, server_port=server.port)
    yield opened, server
    opened.close()
    server.close()


ASKING = pytest.mark.parametrize("stand_in", ["nginx", "caddy"], indirect=True)


def test_nobody_passes_without_a_token(guarded):
    """Without a token the answer is 401 with a challenge, and the service is not bothered."""
    before = len(guarded.service.seen)

    answer = guarded.ask()

    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"].startswith("Bearer ")
    assert len(guarded.service.seen) == before


def test_a_live_worker_passes_and_the_service_sees_who_it_is(guarded):
    """The service reads the Worker's ID, name, strategy (and labels, where the proxy can pass them), and never its token."""
    answer = guarded.ask(guarded.token(), path="/orders?day=1", method="POST", body=b"ten books")

    assert (answer.status_code, answer.content) == (200, guarded.service.answer)
    seen = guarded.service.seen[-1]
    assert (seen.method, seen.path, seen.body) == ("POST", "/orders?day=1", b"ten books")
    assert seen.values("X-Lyftdata-Worker-Id") == ["press"]
    assert [unquote(name) for name in seen.values("X-Lyftdata-Worker-Name")] == [NAME]
    assert seen.values("X-Lyftdata-Worker-Name")[0].isascii()
    assert seen.values("X-Lyftdata-Worker-Strategy") == ["api_key"]
    assert seen.values("X-Lyftdata-Worker-Labels") == ([LABELS] if guarded.kind.passes_labels else [])
    assert seen.values("Authorization") == []


SPELLINGS = {
    "plain": "X-Lyftdata-Worker-{}",
    "lower case": "x-lyftdata-worker-{}",
    "upper case": "X-LYFTDATA-WORKER-{}",
    "underscores": "X_Lyftdata_Worker_{}",
    "some underscores": "X-Lyftdata_Worker-{}",
    "the last underscore": "X-Lyftdata-Worker_{}",
    "dots": "X.Lyftdata.Worker.{}",
}


@pytest.mark.parametrize("spelling", SPELLINGS.values(), ids=SPELLINGS)
def test_what_a_stranger_says_of_himself_does_not_reach_the_service(guarded, spelling):
    """Headers from outside that pretend to be ours are gone, however they are spelled and however often they come."""
    forged = [(spelling.format(part), "forged") for part in ("Id", "Name", "Strategy", "Labels", "Id", "ID")]

    assert guarded.ask(guarded.token("plain"), *forged).status_code == 200

    seen = guarded.service.seen[-1]
    assert "forged" not in [value for _, value in seen.headers]
    assert seen.values("X-Lyftdata-Worker-Id") == ["plain"]
    assert not any(seen.values("X-Lyftdata-Worker-Labels"))


@pytest.mark.parametrize(
    "line",
    ["X-Lyftdata-Worker-Id : forged", "X-Lyftdata-Worker-Id:\tforged", "\tX-Lyftdata-Worker-Id: forged"],
)
def test_headers_on_the_edge_of_the_standard_do_not_reach_the_service(guarded, line):
    """White space around a header's name or value smuggles nothing."""
    token = guarded.token()
    before = len(guarded.service.seen)
    head = f"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {token}\r\n{line}\r\nConnection: close\r\n\r\n"
    with socket.create_connection(("127.0.0.1", guarded.peer.port), timeout=10) as connection:
        connection.sendall(head.encode())
        while connection.recv(65_536):
            pass

    for seen in guarded.service.seen[before:]:
        assert seen.values("X-Lyftdata-Worker-Id") == ["press"]
        assert not any("forged" in value for _, value in seen.headers)


@pytest.mark.parametrize("connection", ["close, {}", "{}", "keep-alive, {}"])
@pytest.mark.parametrize("part", ["Id", "Name", "Strategy", "Labels"])
def test_nobody_has_the_proxy_drop_who_he_is(guarded, part, connection):
    """A header that `Connection` names is for the next hop alone: a Worker must not get rid of its own name, or labels, so."""
    name = f"X-Lyftdata-Worker-{part}"
    before = len(guarded.service.seen)

    guarded.ask(guarded.token(), ("Connection", connection.format(name.lower())))

    for seen in guarded.service.seen[before:]:
        assert seen.values("X-Lyftdata-Worker-Id") == ["press"]
        if part != "Labels" or guarded.kind.passes_labels:
            assert len(seen.values(name)) == 1


class Forge:
    """Makes tokens that look like a good one, as the Server itself could, and as others can."""

    def __init__(self, fleet: Fleet) -> None:
        self.fleet = fleet
        self._signer = server_signing_key(fleet.site.root / "server" / "staging")

    def changed(self, good: str, *, header: dict[str, str] | None = None, **changes: object) -> str:
        """Return a token with the Server's own signature that differs from a good one in what is asked for."""
        claims = {name: value for name, value in (claims_of(good) | changes).items() if value is not None}
        given = {"alg": "ES256", "typ": "at+jwt", "kid": self._signer.kid} | (header or {})
        return signed(claims, key=self._signer.jose_key, **given)

    def by_anybody(self, good: str) -> str:
        """Return a token signed with a key of somebody's own, under the Server's `kid`."""
        header = {"alg": "ES256", "typ": "at+jwt", "kid": self._signer.kid}
        return signed(claims_of(good), key=ECKey.generate_key("P-256"), **header)

    def by_public_key(self, good: str) -> str:
        """Return a token under HS256, for which the public key was taken as shared secret: the oldest trick."""
        return signed_with_secret(claims_of(good), secret=public_pem(self.fleet))

    def bound(self, good: str) -> str:
        """Return a real token that is worth nothing without a proof."""
        return Proof().bound_token(self.fleet, for_the_service=claims_of(good)["aud"] == AUDIENCE)


@pytest.fixture(scope="module")
def forge(fleet: Fleet) -> Forge:
    """Return what makes tokens."""
    return Forge(fleet)


def test_the_forge_is_good(guarded, forge):
    """Tokens of the tests' own making pass when nothing is changed in them: what is refused below is refused for its change."""
    assert guarded.reaches(forge.changed(guarded.token()))


def public_pem(fleet: Fleet) -> bytes:
    """Return the Server's public key, as anybody can have it."""
    jwk = httpx2.get(f"{fleet.site.url}/.well-known/jwks.json", timeout=60).json()["keys"][0]
    return ECKey.import_key(jwk).as_pem(private=False)


BAD: dict[str, Callable[[str, Forge], str]] = {
    "garbage": lambda *_: "garbage",
    "three parts of garbage": lambda *_: "e30.e30.AAAA",
    "cut": lambda good, _: good[:-4],
    "with another signature": lambda good, _: good.rpartition(".")[0] + "." + "A" * 86,
    "ended a second ago": lambda good, forge: forge.changed(good, exp=int(time.time()) - 1),
    "without an end": lambda good, forge: forge.changed(good, exp=None),
    "for another service": lambda good, forge: forge.changed(good, aud="https://elsewhere.example.com"),
    "for nobody": lambda good, forge: forge.changed(good, aud=None),
    "of another Server": lambda good, forge: forge.changed(good, iss="https://elsewhere.example.com"),
    "of another type": lambda good, forge: forge.changed(good, header={"typ": "JWT"}),
    "unsigned": lambda good, _: unsigned(claims_of(good)),
    "signed by anybody": lambda good, forge: forge.by_anybody(good),
    "signed with the public key": lambda good, forge: forge.by_public_key(good),
    "bound to a key": lambda good, forge: forge.bound(good),
}


@pytest.mark.parametrize("make", BAD.values(), ids=BAD)
def test_a_token_that_is_not_good_is_refused(guarded, forge, make):
    """Whatever is wrong with a token, the answer is 401 and the service is not bothered."""
    good = guarded.token()
    before = len(guarded.service.seen)

    answer = guarded.ask(make(good, forge))

    assert answer.status_code == 401, answer.text
    assert answer.headers["WWW-Authenticate"].startswith("Bearer ")
    assert len(guarded.service.seen) == before


def test_a_token_for_another_audience_is_refused(guarded):
    """A token for the Server does not pass where one for the service is asked for, nor the other way round."""
    other = guarded.fleet.token(for_the_service=not guarded.kind.for_the_service)

    assert guarded.ask(other).status_code == 401


def test_a_token_in_the_url_is_no_token(guarded):
    """What stands in a URL stands in every log: a token there lets nobody through (RFC 6750, section 5.3)."""
    assert guarded.ask(path=f"/?access_token={guarded.token()}").status_code == 401


def test_two_tokens_are_one_too_many(guarded):
    """A request with two Authorization headers is not let through as somebody whom the service does not see."""
    good = guarded.token()
    before = len(guarded.service.seen)

    for second in ("Bearer garbage", "Basic Zm9yZ2VkOg=="):
        for pair in ((f"Bearer {good}", second), (second, f"Bearer {good}")):
            answer = guarded.ask(None, *(("Authorization", value) for value in pair))
            # nginx 1.22 and Apache may go by one of them, and it is that one's Worker whom the service sees.
            assert answer.status_code == 401 or guarded.kind in {KINDS["nginx"], KINDS["apache"]}

    for seen in guarded.service.seen[before:]:
        assert seen.values("X-Lyftdata-Worker-Id") == ["press"]
        assert seen.values("Authorization") == []


def test_no_proxy_logs_a_token(guarded):
    """Whoever reads a proxy's log is no Worker by that."""
    token = guarded.token()

    assert guarded.reaches(token)
    assert not guarded.reaches(f"{token}x")

    assert token.rpartition(".")[2] not in guarded.peer.log_file.read_text(encoding="utf-8")


def test_a_disabled_worker_is_refused(guarded):
    """Where the Server is asked: within a second. Where it is not: when the token ends, and the token says when."""
    worker = guarded.fleet.add_worker()
    token = guarded.token(worker)
    assert guarded.reaches(token)

    guarded.fleet.disable(worker)

    if guarded.kind.asks_the_server:
        until(lambda: not guarded.reaches(token), "the Worker is refused", within_s=1)
    else:
        assert guarded.reaches(token)
        assert claims_of(token)["exp"] - claims_of(token)["iat"] == 60
        assert guarded.fleet.ask_for_token(worker, for_the_service=True).status_code != 200


def test_the_server_down_is_closed(guarded):
    """While the Server is down nobody passes who would have to be asked about; once it is back, Workers pass again."""
    token = guarded.token()
    assert guarded.reaches(token)

    guarded.fleet.stop()
    try:
        # HAProxy goes by the keys that it has: it needs the Server for nothing, and says so on its page.
        assert guarded.reaches(token) is not guarded.kind.asks_the_server
        assert guarded.ask(token).status_code == guarded.kind.when_down
        assert not guarded.reaches(None)
    finally:
        guarded.fleet.site.start_server()
    until(lambda: guarded.reaches(token), "Workers pass again")


@ASKING
@pytest.mark.parametrize("status", [500, 503, 429, 404, 302])
def test_an_answer_that_is_not_204_is_closed(stand_in, status):
    """Whatever a Server that is not itself answers, the service is not bothered."""
    guarded, server = stand_in
    server.status = status
    server.answer_headers = {"X-Lyftdata-Worker-Id": "press", "Location": "/elsewhere"}

    answer = guarded.ask("token")

    assert answer.status_code not in range(200, 300)
    assert guarded.service.seen == []


@ASKING
def test_the_server_is_asked_about_the_very_request(stand_in):
    """The Server reads method and address of the request, from the proxy and never from the client; and no body."""
    guarded, server = stand_in
    lies = [
        (name, value)
        for name, value in (
            ("X-Forwarded-Method", "GET"),
            ("X-Forwarded-Proto", "https"),
            ("X-Forwarded-Host", "elsewhere.example.com"),
            ("X-Forwarded-Uri", "/harmless"),
            ("X-Forwarded-For", "192.0.2.1"),
            ("X_Forwarded_Uri", "/harmless"),
        )
    ]

    answer = guarded.ask(
        "token", *lies, ("DPoP", "proof"), path="/orders?a=%2F", method="PUT", body=b"x" * 100_000
    )

    assert answer.status_code == 200
    asked = server.seen[-1]
    assert (asked.method, asked.path, asked.body) == ("GET", "/auth/verify", b"")
    assert asked.values("Content-Length") in ([], ["0"])
    assert asked.values("Authorization") == ["Bearer token"]
    assert asked.values("DPoP") == ["proof"]
    # What our Server reads; a spelling with underscores it does not.
    read = {name.lower(): value for name, value in asked.headers}
    assert read["x-forwarded-method"] == "PUT"
    assert read["x-forwarded-proto"] == "http"
    assert read["x-forwarded-host"] == f"127.0.0.1:{guarded.peer.port}"
    assert read["x-forwarded-uri"] == "/orders?a=%2F"
    assert read["x-forwarded-for"] == "127.0.0.1"
    assert len([name for name, _ in asked.headers if name.lower().startswith("x-forwarded-")]) == 5
    assert guarded.service.seen[-1].body == b"x" * 100_000


@pytest.mark.parametrize("stand_in", ["nginx"], indirect=True)
def test_nginx_tells_the_server_nothing_else(stand_in):
    """What a client says to the service, cookies among it, stays with nginx and the service."""
    guarded, server = stand_in

    guarded.ask("token", ("Cookie", "session=1"), ("X-Secret", "of the service"))

    assert guarded.service.seen[-1].values("X-Secret") == ["of the service"]
    assert server.seen[-1].values("Cookie") == server.seen[-1].values("X-Secret") == []


@ASKING
def test_questions_share_connections(stand_in):
    """Connections to the Server are kept, also after a request with a body; nothing of one request is taken for another."""
    guarded, server = stand_in

    for number in range(20):
        body = b"GET /smuggled HTTP/1.1\r\n\r\n" * (number % 3)
        assert guarded.ask("token", path=f"/{number}", method="POST", body=body).status_code == 200

    assert [asked.values("X-Forwarded-Uri") for asked in server.seen] == [
        [f"/{number}"] for number in range(20)
    ]
    assert len({asked.client_port for asked in server.seen}) < 5


@ASKING
def test_a_header_that_the_server_does_not_send_is_not_the_clients(stand_in):
    """Where the Server's answer lacks a header, the client's own does not take its place."""
    guarded, server = stand_in
    server.answer_headers = {"X-Lyftdata-Worker-Id": "press"}

    guarded.ask("token", ("X-Lyftdata-Worker-Name", "forged"), ("X-Lyftdata-Worker-Labels", "forged"))

    seen = guarded.service.seen[-1]
    assert seen.values("X-Lyftdata-Worker-Id") == ["press"]
    assert [value for _, value in seen.headers if "forged" in value] == []


@pytest.mark.parametrize("guarded", ["nginx", "caddy"], indirect=True)
def test_a_proof_of_possession_is_for_one_request(guarded):
    """Where the Server is asked, a token that is bound to a key passes with a proof for that very request, once."""
    proof = Proof()
    token = proof.bound_token(guarded.fleet)

    def shows(made: str, path: str, method: str = "GET") -> int:
        return guarded.ask(token, ("DPoP", made), path=path, method=method, scheme="DPoP").status_code

    made = proof("GET", f"{guarded.peer.url}/orders", token=token)
    assert shows(made, "/orders?day=1") == 200
    assert guarded.service.seen[-1].values("DPoP") == []
    assert shows(made, "/orders?day=1") == 401
    assert shows(proof("GET", f"{guarded.peer.url}/orders", token=token), "/other") == 401
    assert shows(proof("GET", f"{guarded.peer.url}/orders", token=token), "/orders", "DELETE") == 401


@pytest.mark.parametrize("guarded", ["nginx"], indirect=True)
def test_nginx_answers_nobody_from_outside_at_its_inner_address(guarded):
    """The location that asks the Server is no way around anything."""
    assert guarded.ask(guarded.token(), path="/_lyftdata/verify").status_code == 404


def test_keys_for_haproxy_are_written_when_they_change(fleet, tmp_path):
    """The script writes every key the Server publishes, runs its command when one is new, and never more."""
    around = Around(tmp_path, fleet.site.port, 1)
    touch = ["touch", str(tmp_path / "reloaded")]

    assert write_keys(around, *touch).returncode == 0

    assert {(tmp_path / name).read_bytes() for name in ("1.pem", "2.pem", "3.pem")} == {public_pem(fleet)}
    (tmp_path / "reloaded").unlink()
    assert write_keys(around, *touch).returncode == 0
    assert not (tmp_path / "reloaded").exists()


def test_keys_for_haproxy_stay_when_the_server_gives_none(fleet, tmp_path):
    """A Server that is down, empty or not itself takes no key away; the script fails, so that its timer tells."""
    server = Service()
    around = Around(tmp_path, server.port, 1)
    key = httpx2.get(f"{fleet.site.url}/.well-known/jwks.json", timeout=60).json()["keys"][0]
    new = ECKey.generate_key("P-256")
    server.answer = json.dumps({"keys": [key, {**new.as_dict(private=False), "alg": "ES256"}]}).encode()
    assert write_keys(around).returncode == 0
    before = [(tmp_path / name).read_bytes() for name in ("1.pem", "2.pem", "3.pem")]
    assert before == [public_pem(fleet), new.as_pem(private=False), public_pem(fleet)]

    for answer in (b'{"keys":[]}', b"nonsense", json.dumps({"keys": [key] * 4}).encode()):
        server.answer = answer
        assert write_keys(around).returncode != 0
        assert [(tmp_path / name).read_bytes() for name in ("1.pem", "2.pem", "3.pem")] == before
    server.close()


def test_prometheus_scrapes_as_a_worker(fleet, tmp_path):
    """Prometheus' own oauth2 client gets worker tokens and scrapes through nginx; once its Worker is disabled, the target is down."""
    path = program("prometheus", "prometheus")
    worker = fleet.add_worker()
    (tmp_path / "nginx").mkdir()
    guarded = Guarded(KINDS["nginx"], fleet, tmp_path / "nginx")
    guarded.service.answer_headers = {"Content-Type": "text/plain; version=0.0.4"}
    (tmp_path / "key").write_text(f"{fleet.keys[worker]}\n")
    changes = {
        "client_id: prometheus": f"client_id: {worker}",
        "/etc/prometheus/lyftdata.key": str(tmp_path / "key"),
        "http://127.0.0.1:3000": fleet.site.url,
        "127.0.0.1:8080": f"127.0.0.1:{guarded.peer.port}",
        "scrape_interval: 15s": "scrape_interval: 1s",
    }
    (tmp_path / "prometheus.yml").write_text(example("prometheus/prometheus.yml", changes))
    port = free_port()
    command = [
        path,
        f"--config.file={tmp_path / 'prometheus.yml'}",
        f"--storage.tsdb.path={tmp_path / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    prometheus = Peer(command, root=tmp_path, port=port)

    def target() -> dict[str, Any]:
        found = httpx2.get(f"{prometheus.url}/api/v1/targets", timeout=60).json()["data"]["activeTargets"]
        return dict(found[0]) if found else {"health": "unknown"}

    try:
        until(lambda: target()["health"] == "up", "the target is up", within_s=30)
        assert guarded.service.seen[-1].path == "/metrics"
        assert guarded.service.seen[-1].values("X-Lyftdata-Worker-Id") == [worker]
        asked = {"query": "service_works"}
        found = httpx2.get(f"{prometheus.url}/api/v1/query", params=asked, timeout=60).json()["data"][
            "result"
        ]
        assert found[0]["value"][1] == "1"

        fleet.disable(worker)

        until(lambda: target()["health"] == "down", "the target is down", within_s=30)
        assert "401" in target()["lastError"]
    finally:
        prometheus.close()
        guarded.close()


def test_the_page_shows_the_examples():
    """The how-to holds every file of examples/ that is configuration, letter for letter, and names each."""
    page = (EXAMPLES.parent / "docs" / "how-to" / "check-workers-at-a-proxy.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```\w+\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    files = [
        file
        for folder in ("nginx", "caddy", "haproxy", "apache", "traefik", "prometheus")
        for file in sorted((EXAMPLES / folder).iterdir())
    ]

    for file in files:
        assert f"`{file.relative_to(EXAMPLES.parent)}`" in page, file
        if file.suffix != ".py":
            assert file.read_text(encoding="utf-8") in blocks, f"{file} is not shown as it is"


def test_the_traefik_example_is_marked_untested():
    """What no test runs says so; it is at least YAML, and its middlewares are those that it names."""
    text = (EXAMPLES / "traefik" / "dynamic.yml").read_text(encoding="utf-8")
    read = yaml.safe_load(text)["http"]

    assert "UNTESTED" in text
    assert read["routers"]["service"]["middlewares"] == list(read["middlewares"])
