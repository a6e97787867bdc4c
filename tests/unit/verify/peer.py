"""A fake Server for verifiers: it publishes keys, signs tokens, and answers online checks."""

import gzip
import json
from collections import Counter
from typing import Any
from urllib.parse import parse_qs

import httpx2
from tests.builders import ISSUER, NOON, worker
from tests.unit.core.forge import b64, join, merged, parts

from lyftdata.core.keyring import SigningKey, generate_signing_key
from lyftdata.core.tokens import mint_worker_token
from lyftdata.verify import AsyncWorkerVerifier, WorkerVerifier

AUDIENCE = "https://files.example"
ES256 = generate_signing_key("ES256")
ED25519 = generate_signing_key("Ed25519")
OTHER_KEY = generate_signing_key("ES256")
WORKER = worker("w-17", name="Prëss ✓", labels={"zone": "eu-1", "gpu": ""})


class Clock:
    """Wall clock and monotonic clock in one; both stand still until a test moves them."""

    def __init__(self) -> None:
        self.wall_s = NOON.timestamp()
        self.steady_s = 1000.0

    def forward(self, seconds: float) -> None:
        """Let time pass."""
        self.wall_s += seconds
        self.steady_s += seconds


class FakeServer:
    """Answers over an injected transport, and counts the requests."""

    def __init__(self, *keys: SigningKey, issuer: str = ISSUER) -> None:
        self.issuer = issuer
        self.keys = list(keys) or [ES256, ED25519]
        self.cache_control = "public, max-age=300"
        self.up = True
        self.responses: dict[str, httpx2.Response] = {}
        self.revoked: set[str] = set()
        self.described: dict[str, Any] = {}
        self.asked: Counter[str] = Counter()

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        path = request.url.path
        self.asked[path] += 1
        if not self.up:
            raise httpx2.ConnectError("no route")
        if path in self.responses:
            response = self.responses[path]  # a response object can be used once, so each caller gets its own
            content = (
                gzip.compress(response.content)
                if "content-encoding" in response.headers
                else response.content
            )
            return httpx2.Response(response.status_code, headers=response.headers, content=content)
        if path == "/.well-known/oauth-authorization-server":
            body = {"issuer": self.issuer, "jwks_uri": f"{self.issuer}/.well-known/jwks.json"}
            return httpx2.Response(200, json=body)
        if path == "/.well-known/jwks.json":
            return httpx2.Response(
                200,
                json={"keys": [key.public_jwk() for key in self.keys]},
                headers={"Cache-Control": self.cache_control},
            )
        if path == "/oauth2/introspect":
            return self.introspected(parse_qs(request.content.decode()))
        assert path == "/auth/verify"
        token = request.headers["authorization"].removeprefix("Bearer ")
        if token in self.revoked:
            return httpx2.Response(401, json={"error": "invalid_token"})
        return httpx2.Response(204, headers={"X-Lyftdata-Worker-Id": parts(token)[1]["sub"]})

    def introspected(self, form: dict[str, list[str]]) -> httpx2.Response:
        """Answer as in RFC 7662, to the only resource that exists."""
        if (form["client_id"], form["client_secret"]) != (["files"], ["files-key"]):
            return httpx2.Response(401, json={"error": "invalid_client"})
        if form["token"][0] in self.revoked:
            return httpx2.Response(200, json={"active": False})
        claims = parts(form["token"][0])[1]
        described = {name: claims[name] for name in ("sub", "jti", "scope") if name in claims}
        return httpx2.Response(200, json={"active": True} | described | self.described)

    @property
    def fetches(self) -> int:
        """Return how often keys were fetched."""
        return self.asked["/.well-known/oauth-authorization-server"]

    @property
    def checks(self) -> int:
        """Return how often a token was checked online."""
        return self.asked["/auth/verify"] + self.asked["/oauth2/introspect"]

    def transport(self) -> httpx2.MockTransport:
        """Return a transport that leads to this Server."""
        return httpx2.MockTransport(self)


class World:
    """A Server, a clock, and verifiers that use them."""

    def __init__(self, **options: Any) -> None:
        self.server = FakeServer()
        self.clock = Clock()
        resource = {"resource_name": "files", "resource_key": "files-key"} if options.get("online") else {}
        self.options: dict[str, Any] = {"audience": AUDIENCE} | resource | options

    def shared(self) -> dict[str, Any]:
        """Return the arguments that either kind of verifier takes."""
        return {
            "transport": self.server.transport(),
            "clock": lambda: self.clock.wall_s,
            "monotonic": lambda: self.clock.steady_s,
            **self.options,
        }

    def verifier(self) -> WorkerVerifier:
        """Return a verifier for threads."""
        return WorkerVerifier(ISSUER, **self.shared())

    def async_verifier(self) -> AsyncWorkerVerifier:
        """Return a verifier for an event loop."""
        return AsyncWorkerVerifier(ISSUER, **self.shared())


def settle(verifier: WorkerVerifier) -> None:
    """Wait for a background fetch, if there is one."""
    fetch = verifier._key_fetch
    if fetch is not None:
        assert fetch.done.wait(180)


def mint(signer: SigningKey = ES256, **changes: Any) -> str:
    """Mint a token for the service, issued at noon and valid for fifteen minutes."""
    given: dict[str, Any] = {
        "signer": signer,
        "issuer": ISSUER,
        "audience": AUDIENCE,
        "worker": WORKER,
        "credential": "key.abc.1",
        "now": NOON,
        "ttl_s": 900,
        "jti": "j1",
    }
    return mint_worker_token(**(given | changes))


def resigned(
    token: str,
    *,
    header: dict[str, Any] | None = None,
    claims: dict[str, Any] | None = None,
    signer: SigningKey = ES256,
) -> str:
    """Return a token with changed members and a valid new signature."""
    old_header, old_claims, _ = parts(token)
    message = join(merged(old_header, header), merged(old_claims, claims), b"").rstrip(".")
    return f"{message}.{b64(signer.sign(message.encode()))}"


def jwks_of(*keys: dict[str, Any]) -> bytes:
    """Return a JWK Set as bytes."""
    return json.dumps({"keys": list(keys)}).encode()
