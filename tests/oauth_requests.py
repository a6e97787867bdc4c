"""Requests of an OAuth client: tokens for resources, proofs of possession (RFC 9449), registration."""

import base64
import hashlib
import json

from tests.builders import ENROLLMENT_KEY, ISSUER

from lyftdata.core._jose import sign
from lyftdata.core.identity_keys import generate_identity_key

AUDIENCE = "https://broker.example"


OTHER = "https://other.example"


def claims_of(token):
    """Return a token's claims without verifying it."""
    payload = token.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))


async def define(server, admin, name="broker", audience=AUDIENCE, **fields):
    """Define a resource."""
    body = {"name": name, "audience": audience, "scopes": ["read", "write"]} | fields
    answer = await server.http.post("/api/resources", json=body, headers=admin)
    assert answer.status_code == 201, answer.text
    return answer.json()


def dpop(key, server, *, method="POST", url=f"{ISSUER}/oauth2/token", header=None, **claims):
    """Make a DPoP proof."""
    server._jti += 1
    given = {"htm": method, "htu": url, "iat": int(server.clock().timestamp()), "jti": f"d{server._jti}"}
    token = claims.pop("token", None)
    if token is not None:
        given["ath"] = base64.urlsafe_b64encode(hashlib.sha256(token.encode()).digest()).rstrip(b"=").decode()
    head = {"typ": "dpop+jwt", "alg": "ES256", "jwk": key.public.as_dict()} | (header or {})
    return sign(head, {k: v for k, v in (given | claims).items() if v is not None}, key=key.jose_key)


async def ask_bound(server, press, proof):
    """Request a token with a DPoP proof."""
    form = {"grant_type": "client_credentials", "client_id": press[0], "client_secret": press[1]}
    return await server.http.post("/oauth2/token", data=form, headers={"DPoP": proof})


async def bound(server, press, key):
    """Return a token bound to a key."""
    first = await ask_bound(server, press, dpop(key, server))
    assert (first.status_code, first.json()["error"]) == (400, "use_dpop_nonce")
    answer = await ask_bound(server, press, dpop(key, server, nonce=first.headers["dpop-nonce"]))
    assert answer.status_code == 200, answer.text
    assert answer.json()["token_type"] == "DPoP"
    assert answer.headers["dpop-nonce"]
    return answer.json()["access_token"]


async def show_bound(server, token, proof, scheme="DPoP"):
    """Present a bound token to `/auth/verify`."""
    return await server.http.get(
        "/auth/verify", headers={"Authorization": f"{scheme} {token}", "DPoP": proof}
    )


VERIFY = {"method": "GET", "url": f"{ISSUER}/auth/verify"}


async def enrolled_by_secret(server, name="press"):
    """Enroll as a third-party client does; return the answer and the key."""
    key = generate_identity_key()
    answer = await server.register(key, name, credential=ENROLLMENT_KEY)
    assert answer.status_code == 201, answer.text
    return answer.json(), key


def bearer(token):
    """Return the Authorization header."""
    return {"Authorization": f"Bearer {token}"}
