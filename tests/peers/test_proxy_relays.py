"""
A service that a Worker trusts relays the Worker's token and proof of possession to another service.

A proof names the host that it is for, so it must be refused elsewhere: behind the proxies of examples/, and behind proxies that
are configured as in their own documentation, or carelessly.
"""

import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.peers.guarded import Fleet, Guarded, Proof
from tests.peers.proxies import AUDIENCE, Peer, program
from tests.peers.proxy_kinds import ASKING, HOST, Kind, ProxySetup, nginx, traefik

OTHER = "other.example.com"


@pytest.fixture(scope="module")
def both_named(fleet: Fleet) -> Fleet:
    """Return a Server that knows both the service behind the proxies and the one that relays."""
    fleet.operator.done("resources", "add", "other", "--audience", f"https://{OTHER}", "--all-workers")
    return fleet


@dataclass
class Captured:
    """What a Worker has sent to the other service, which relays it."""

    token: str
    proof: str

    def relay(self, guarded: Guarded, head: str) -> bytes:
        """Send it to a proxy with any request line and headers; return the status line of the answer."""
        request = (
            f"{head}\r\nAuthorization: DPoP {self.token}\r\nDPoP: {self.proof}\r\nConnection: close\r\n\r\n"
        )
        with socket.create_connection(("127.0.0.1", guarded.peer.port), timeout=180) as connection:
            connection.sendall(request.encode())
            answer = b""
            while chunk := connection.recv(65_536):
                answer += chunk
        return answer.partition(b"\r\n")[0]


def captured(fleet: Fleet, url: str = f"https://{OTHER}/orders") -> Captured:
    """Return a token and an unused proof for a request to the other service."""
    proof = Proof()
    token = proof.bound_token(fleet)
    return Captured(token, proof("GET", url, token=token))


FORWARDED = f"\r\nX-Forwarded-Host: {OTHER}\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Method: GET\r\nX-Forwarded-Uri: /orders"
HEADS = {
    "host": f"GET /orders HTTP/1.1\r\nHost: {OTHER}",
    "host with port": f"GET /orders HTTP/1.1\r\nHost: {OTHER}:443",
    "absolute form": f"GET https://{OTHER}/orders HTTP/1.1\r\nHost: {OTHER}",
    "absolute form and own host": f"GET https://{OTHER}/orders HTTP/1.1\r\nHost: {HOST}",
    "own host in the absolute form": f"GET https://{HOST}/orders HTTP/1.1\r\nHost: {OTHER}",
    "forwarded": f"GET /orders HTTP/1.1\r\nHost: {HOST}{FORWARDED}",
    "forwarded and host": f"GET /orders HTTP/1.1\r\nHost: {OTHER}{FORWARDED}",
    "standard's forwarded": f"GET /orders HTTP/1.1\r\nHost: {HOST}\r\nForwarded: host={OTHER};proto=https",
    "connection": f"GET /orders HTTP/1.1\r\nHost: {HOST}{FORWARDED}\r\nConnection: X-Forwarded-Host, X-Forwarded-Uri",
    "query": f"GET /orders?resource=other&/auth/verify/other HTTP/1.1\r\nHost: {OTHER}",
    "dot segments": f"GET /../other/orders HTTP/1.1\r\nHost: {OTHER}",
    "encoded dot segments": f"GET /%2e%2e/other/orders HTTP/1.1\r\nHost: {OTHER}",
    "encoded slash": f"GET /..%2fother/orders HTTP/1.1\r\nHost: {OTHER}",
    "two slashes": f"GET //other/orders HTTP/1.1\r\nHost: {OTHER}",
}


@pytest.mark.parametrize("guarded", ASKING, indirect=True)
@pytest.mark.parametrize("head", HEADS.values(), ids=HEADS)
@pytest.mark.parametrize("scheme", ["https", "http"])
def test_a_proof_for_another_service_is_refused(both_named, guarded, head, scheme):
    """Whatever host, target and headers the other service sends, the proxy does not accept it as the Worker."""
    before = len(guarded.service.seen)

    status = captured(both_named, f"{scheme}://{OTHER}/orders").relay(guarded, head)

    # Envoy answers 403 to an https URL on a plain connection.
    assert status.split()[1] in {b"400", b"401", b"403", b"404"}
    assert len(guarded.service.seen) == before


@pytest.mark.parametrize("guarded", ASKING, indirect=True)
def test_the_workers_own_proof_is_accepted(both_named, guarded):
    """The requests above are refused only for the host: with a proof for this service the same request passes."""
    status = captured(both_named, f"{AUDIENCE}/orders").relay(
        guarded, f"GET /orders HTTP/1.1\r\nHost: {HOST}"
    )

    assert status.split()[1] == b"200"


NGINX = """
server {{
    listen 127.0.0.1:{port};
    location / {{
        auth_request /verify;
        auth_request_set $id $upstream_http_x_lyftdata_worker_id;
        proxy_set_header X-Lyftdata-Worker-Id $id;
        proxy_pass http://127.0.0.1:{service};
    }}
    location = /verify {{
        internal;
        proxy_pass_request_body off;
        proxy_set_header Content-Length "";
        {headers}
        proxy_pass http://127.0.0.1:{server}/auth/verify;
    }}
}}
"""
# With the client's Host header as the host of the request, as documentation shows it.
NGINX_HEADERS = """
        proxy_set_header X-Forwarded-Method $request_method;
        proxy_set_header X-Forwarded-Proto https;
        proxy_set_header X-Forwarded-Host $http_host;
        proxy_set_header X-Forwarded-Uri $request_uri;
"""
NGINX_INGRESS = """
        proxy_set_header X-Original-URL https://$http_host$request_uri;
        proxy_set_header X-Original-Method $request_method;
"""
CADDY = """{{
	admin off
	auto_https off
}}
http://:{port} {{
	bind 127.0.0.1
	forward_auth 127.0.0.1:{server} {{
		uri /auth/verify
		copy_headers X-Lyftdata-Worker-Id
		header_up X-Forwarded-Proto https
	}}
	reverse_proxy 127.0.0.1:{service}
}}
"""
TRAEFIK = """
http:
  routers:
    all: {{rule: "PathPrefix(`/`)", service: service, middlewares: [verify]}}
  middlewares:
    verify:
      forwardAuth:
        address: http://127.0.0.1:{server}/auth/verify
        trustForwardHeader: true
        authResponseHeaders: [X-Lyftdata-Worker-Id]
  services:
    service: {{loadBalancer: {{servers: [{{url: "http://127.0.0.1:{service}"}}]}}}}
"""


def _written(text: str, setup: ProxySetup, **more: str) -> str:
    return text.format(port=setup.port, server=setup.server_port, service=setup.service_port, **more)


def _nginx(headers: str) -> Callable[[ProxySetup], Peer]:
    return lambda setup: nginx(setup, _written(NGINX, setup, headers=headers))


def _caddy(setup: ProxySetup) -> Peer:
    (setup.root / "Caddyfile").write_text(_written(CADDY, setup))
    return Peer([program("caddy", "caddy"), "run"], root=setup.root, port=setup.port)


def _traefik(setup: ProxySetup) -> Peer:
    (setup.root / "dynamic.yml").write_text(_written(TRAEFIK, setup))
    arguments = [
        f"--entryPoints.web.address=127.0.0.1:{setup.port}",
        "--entryPoints.web.forwardedHeaders.insecure=true",
        f"--providers.file.filename={setup.root / 'dynamic.yml'}",
    ]
    return traefik(arguments, setup)


# Whether the proxy sends the facts of the request, so that the refusal can tell the operator what is missing.
FOREIGN = {
    "nginx": (_nginx(NGINX_HEADERS), True),
    "nginx that passes everything": (_nginx(""), False),
    "nginx with other headers": (_nginx(NGINX_INGRESS), False),
    "caddy": (_caddy, True),
    "traefik": (_traefik, True),
}


@pytest.fixture(scope="module", params=FOREIGN)
def foreign(
    request: pytest.FixtureRequest, both_named: Fleet, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Guarded, bool]]:
    """Return a service behind a proxy with a third-party configuration."""
    start, is_notified = FOREIGN[request.param]
    opened = Guarded(Kind(start, asks_the_server=True), both_named, _directory(tmp_path_factory))
    yield opened, is_notified
    opened.close()


def _directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("foreign")


def test_proofs_are_refused_behind_a_proxy_that_names_no_service(foreign, both_named):
    """Both relayed proofs and the Worker's own are refused there; bearer tokens pass."""
    guarded, is_notified = foreign
    assert guarded.reaches(both_named.token())
    before = len(guarded.service.seen)

    for head in HEADS.values():
        status = captured(both_named).relay(guarded, head)
        assert status.split()[1] in {b"400", b"401", b"404"}
    own = captured(both_named, f"{AUDIENCE}/orders")
    assert own.relay(guarded, f"GET /orders HTTP/1.1\r\nHost: {HOST}").split()[1] == b"401"

    assert len(guarded.service.seen) == before
    codes = {refusal["code"] for refusal in both_named.operator.json("refusals", "list")}
    assert "unnamed_service" in codes if is_notified else "wrong_token" in codes
