"""
An OpenID Connect issuer on loopback that really signs, and lies as a test requires: about its name, its keys and its tokens.

Third-party issuers are tested in tests/peers; none of them sends a wrong token.
"""

import base64
import hashlib
import json
import threading
import urllib.parse
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from joserfc import jws
from joserfc.jwk import ECKey, RSAKey

LOGOUT_EVENT = "http://schemas.openid.net/event/backchannel-logout"
CLIENT_ID = "lyftdata"
CLIENT_SECRET = "a+secret/with:signs%and=spaces in it"


class LyingIssuer:
    """
    The issuer; a test changes its attributes to change its answers.

    Args:
        now: Returns the time for its tokens.
    """

    def __init__(self, now: Callable[[], datetime]) -> None:
        self._now = now
        self.key: ECKey | RSAKey = new_key("first")
        self.published: list[ECKey | RSAKey] = [self.key]
        self.claims: dict[str, Any] = {"sub": "subject-1", "preferred_username": "ann", "groups": ["ops"]}
        self.userinfo: dict[str, Any] = {}
        self.metadata: dict[str, Any] = {}
        self.token_changes: dict[str, Any] = {}
        self.id_token: Callable[[dict[str, Any]], str] | None = None
        self.status: dict[str, int] = {}
        self.body: dict[str, bytes] = {}
        self.asked: list[str] = []
        self.begun: dict[str, dict[str, str]] = {}
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def settings(self, **more: str) -> dict[str, str]:
        """Return the settings of a Server whose operators sign in here."""
        return {
            "LYFTDATA_OIDC_ISSUER": self.url,
            "LYFTDATA_OIDC_CLIENT_ID": CLIENT_ID,
            "LYFTDATA_OIDC_CLIENT_SECRET": CLIENT_SECRET,
            "LYFTDATA_OIDC_ROLES": "admin: groups=ops; viewer: groups=staff",
        } | more

    def authorize(self, location: str) -> dict[str, str]:
        """Sign in the person whom a Server redirected here; return the query with which the browser goes back."""
        asked = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(location).query, strict_parsing=True))
        code = f"code-{len(self.begun)}"
        self.begun[code] = asked
        return {"code": code, "state": asked["state"]}

    def make_id_token(self, nonce: str) -> str:
        """Return an ID token for a sign-in, with the lies that the test requires."""
        now = int(self._now().timestamp())
        claims = {
            "iss": self.url,
            "aud": CLIENT_ID,
            "iat": now,
            "exp": now + 300,
            "nonce": nonce,
        } | self.claims
        claims = {name: value for name, value in (claims | self.token_changes).items() if value is not None}
        return self.sign(claims) if self.id_token is None else self.id_token(claims)

    def make_logout_token(self, **changes: Any) -> str:
        """Return a logout token for the subject; a value of None removes a claim."""
        now = int(self._now().timestamp())
        claims = {
            "iss": self.url,
            "aud": CLIENT_ID,
            "iat": now,
            "exp": now + 120,
            "jti": f"logout-{len(self.asked)}",
            "events": {LOGOUT_EVENT: {}},
            "sub": self.claims["sub"],
        } | changes
        return self.sign({name: value for name, value in claims.items() if value is not None})

    def sign(self, claims: Mapping[str, Any], **header: Any) -> str:
        """Sign claims with the current key; a value of None removes a header parameter."""
        algorithm = "ES256" if isinstance(self.key, ECKey) else "RS256"
        protected = {"alg": algorithm, "kid": self.key.kid} | header
        protected = {name: value for name, value in protected.items() if value is not None}
        return jws.serialize_compact(protected, json.dumps(claims), self.key, algorithms=[protected["alg"]])

    def rotate(self) -> None:
        """Sign with a new key from now on, and publish both."""
        self.key = new_key(f"key-{len(self.published)}")
        self.published.append(self.key)

    def close(self) -> None:
        """Stop."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def answer(self, path: str, form: Mapping[str, str], authorization: str) -> tuple[int, Any]:
        """Answer a request from the Server."""
        match path:
            case "/.well-known/openid-configuration":
                return 200, {
                    "issuer": self.url,
                    "authorization_endpoint": f"{self.url}/authorize",
                    "token_endpoint": f"{self.url}/token",
                    "jwks_uri": f"{self.url}/jwks",
                    "userinfo_endpoint": f"{self.url}/userinfo",
                } | self.metadata
            case "/jwks":
                return 200, {"keys": [key.as_dict(private=False) for key in self.published]}
            case "/token":
                return self._exchange(form, authorization)
            case "/userinfo":
                return 200, {"sub": self.claims["sub"]} | self.userinfo
            case _:
                return 404, {}

    def _exchange(self, form: Mapping[str, str], authorization: str) -> tuple[int, Any]:
        pair = ":".join(urllib.parse.quote_plus(text, safe="") for text in (CLIENT_ID, CLIENT_SECRET))
        if authorization != f"Basic {base64.b64encode(pair.encode()).decode()}":
            return 401, {"error": "invalid_client"}
        asked = self.begun.pop(form["code"], None)
        if asked is None or form["redirect_uri"] != asked["redirect_uri"]:
            return 400, {"error": "invalid_grant"}
        digest = hashlib.sha256(form["code_verifier"].encode()).digest()
        if base64.urlsafe_b64encode(digest).rstrip(b"=").decode() != asked["code_challenge"]:
            return 400, {"error": "invalid_grant"}
        return 200, {
            "id_token": self.make_id_token(asked["nonce"]),
            "access_token": "an-access-token",
            "token_type": "Bearer",
        }

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        issuer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._answer({})

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"])).decode()
                self._answer(dict(urllib.parse.parse_qsl(body)))

            def _answer(self, form: Mapping[str, str]) -> None:
                path = self.path.partition("?")[0]
                issuer.asked.append(path)
                status, answer = issuer.answer(path, form, self.headers.get("Authorization", ""))
                content = issuer.body.get(path, json.dumps(answer).encode())
                self.send_response(issuer.status.get(path, status))
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(content)))
                self.send_header("Location", f"{issuer.url}/elsewhere")
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *arguments: object) -> None:
                """Log nothing."""

        return Handler


def new_key(kid: str) -> ECKey:
    """Return a new key."""
    return ECKey.generate_key("P-256", {"kid": kid}, private=True)


@contextmanager
def lying_issuer(now: Callable[[], datetime]) -> Iterator[LyingIssuer]:
    """Run an issuer."""
    issuer = LyingIssuer(now)
    try:
        yield issuer
    finally:
        issuer.close()
