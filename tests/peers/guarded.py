"""A service behind a third-party proxy, with the Server, its Workers, proofs of possession, and the requests that tests make."""

import base64
import hashlib
import json
import time
import uuid
from pathlib import Path
from typing import Any

import httpx2
from joserfc import jws
from joserfc.jwk import ECKey
from tests.peers.proxies import AUDIENCE, Peer, Service
from tests.peers.proxy_kinds import HOST, Kind, ProxySetup
from tests.processes import STARTED, Site, until

NAME = 'Druckerei Süd "1"'
LABELS = "zone=eu-1"


class Fleet:
    """A Server where every Worker may get tokens for the service, with a Worker `press` with labels and a Worker `plain` without."""

    def __init__(self, root: Path, *, module: str = "lyftdata") -> None:
        self.site = Site(root, module=module, LYFTDATA_WORKER_TOKEN_TTL="60s")
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
        """Add a Worker with its own API key and without labels; return its ID."""
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
        """Request a worker token."""
        return httpx2.post(
            f"{self.site.url}/oauth2/token",
            auth=(worker_id, self.keys[worker_id]),
            data={"grant_type": "client_credentials"} | ({"resource": AUDIENCE} if for_the_service else {}),
            headers={} if dpop is None else {"DPoP": dpop},
            timeout=180,
        )

    def disable(self, worker_id: str) -> None:
        """Disable a Worker."""
        self.operator.done("workers", "disable", worker_id, "--yes")

    def stop(self) -> None:
        """
        Stop this Server cleanly.

        At its next start it then knows which proofs were used. After a crash it would require nonces for some seconds.
        """
        self.site.server.terminate()
        STARTED.remove(self.site.server)

    def crash(self) -> None:
        """Kill this Server as a power cut would, so that it does not know which proofs were used before."""
        self.site.server.kill()
        STARTED.remove(self.site.server)


class Proof:
    """A key to which a token can be bound, and proofs of possession of it (RFC 9449)."""

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
    """A service behind one kind of proxy."""

    def __init__(self, kind: Kind, fleet: Fleet, root: Path, *, server_port: int | None = None) -> None:
        self.kind = kind
        self.fleet = fleet
        self.service = Service()
        setup = ProxySetup(
            root, server_port or fleet.site.port, self.service.port, resource_key=fleet.resource_key
        )
        self._opened: list[Peer | Service] = [self.service]
        self.peer = kind.start(setup)
        self._opened.insert(0, self.peer)
        if server_port is None:
            # A proxy listens before it has the keys or the routes that it needs.
            try:
                until(lambda: self.reaches(self.token("plain")), "a Worker passes", within_s=60)
            except AssertionError as error:
                log = self.peer.log_file.read_text(encoding="utf-8", errors="replace")
                message = f"{error}; the proxy said:\n{log[-3_000:]}"
                self.close()
                raise AssertionError(message) from None

    def token(self, worker_id: str = "press") -> str:
        """Return a token that is valid for this service."""
        return self.fleet.token(worker_id, for_the_service=self.kind.for_the_service)

    def ask(
        self,
        token: str | None = None,
        *more: tuple[str, str],
        path: str = "/",
        method: str = "GET",
        scheme: str = "Bearer",
        body: bytes = b"",
        host: str = HOST,
    ) -> httpx2.Response:
        """Send the service a request by its public name, with a token if one is given."""
        given = [("Host", host)]
        if token is not None:
            given.append(("Authorization", f"{scheme} {token}"))
        return httpx2.request(
            method, self.peer.url + path, headers=[*given, *more], content=body, timeout=180
        )

    def reaches(self, token: str | None, *more: tuple[str, str]) -> bool:
        """Return whether a request reaches the service; if it does not, the answer must be 401 or a proxy error."""
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
