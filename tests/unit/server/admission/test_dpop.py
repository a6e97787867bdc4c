"""Proofs of possession (RFC 9449): a bound token needs a proof of this request, made just now, used once."""

import base64
import json
from datetime import timedelta

import pytest
from tests.builders import ISSUER
from tests.oauth_requests import VERIFY, ask_bound, bound, claims_of, dpop, show_bound

from lyftdata.core.identity_keys import generate_identity_key


async def test_a_bound_token_is_worth_nothing_without_its_key(server, press):
    """With a proof it passes; stolen, as a bearer token or with another's proof, it does not."""
    key, thief = generate_identity_key(), generate_identity_key()
    token = await bound(server, press, key)
    assert claims_of(token)["cnf"] == {"jkt": key.public.thumbprint}

    assert (await show_bound(server, token, dpop(key, server, token=token, **VERIFY))).status_code == 204
    assert (await server.verify(token)).status_code == 401
    assert (await show_bound(server, token, dpop(thief, server, token=token, **VERIFY))).status_code == 401
    assert (await show_bound(server, token, "nonsense")).status_code == 401


async def test_a_proof_is_used_once(server, press):
    """Captured together with the token it lets nobody in a second time."""
    key = generate_identity_key()
    token = await bound(server, press, key)
    proof = dpop(key, server, token=token, **VERIFY)
    assert [(await show_bound(server, token, proof)).status_code for _ in range(2)] == [204, 401]


async def test_a_bearer_token_is_not_shown_with_a_proof(server, press):
    """A token without `cnf` sent as DPoP is rejected: it is not bound to a key."""
    token = (await server.token_by_key(*press)).json()["access_token"]
    key = generate_identity_key()
    assert (await show_bound(server, token, dpop(key, server, token=token, **VERIFY))).status_code == 401


@pytest.mark.parametrize(
    "wrong",
    [
        {"method": "POST"},
        {"url": f"{ISSUER}/auth/other"},
        {"url": "https://evil.example/auth/verify"},
        {"url": "http://lyft.example/auth/verify"},
        {"ath": "x"},
        {"ath": None},
        {"iat": None},
        {"jti": None},
        {"header": {"typ": "JWT"}},
        {"header": {"alg": "none"}},
        {"header": {"jwk": {}}},
        {"header": {"jwk": "x"}},
        {"header": {"crit": ["x"]}},
        {"nonce": "made-up"},
    ],
)
async def test_proofs_that_are_not_for_this_request(server, press, wrong):
    """Another method, address, token, type, no time, no identifier, a nonce of nobody: refused."""
    key = generate_identity_key()
    token = await bound(server, press, key)
    try:
        proof = dpop(key, server, **({"token": token} | VERIFY | wrong))
    except Exception:  # noqa: BLE001 - the library itself will not sign this
        body = (
            base64.urlsafe_b64encode(json.dumps({"typ": "dpop+jwt"} | wrong["header"]).encode())
            .rstrip(b"=")
            .decode()
        )
        proof = f"{body}.e30.AA"
    assert (await show_bound(server, token, proof)).status_code == 401


@pytest.mark.parametrize(("seconds", "status"), [(-61, 401), (-60, 204), (5, 204), (6, 401)])
async def test_a_proof_is_of_now(server, press, seconds, status):
    """A minute old at most, and hardly of the future: both sides of both bounds."""
    key = generate_identity_key()
    token = await bound(server, press, key)
    iat = int((server.clock() + timedelta(seconds=seconds)).timestamp())
    assert (
        await show_bound(server, token, dpop(key, server, token=token, iat=iat, **VERIFY))
    ).status_code == status


async def test_a_nonce_is_of_now_and_of_this_server(server, press):
    """Two steps later it is old; the answer brings the next one."""
    key = generate_identity_key()
    nonce = (await ask_bound(server, press, dpop(key, server))).headers["dpop-nonce"]
    server.clock.forward(seconds=240)
    for bad in (nonce, "x" * 24, None):
        answer = await ask_bound(server, press, dpop(key, server, nonce=bad))
        assert answer.json()["error"] == "use_dpop_nonce"
        assert answer.headers["dpop-nonce"] != nonce


async def test_a_private_key_in_a_proof_is_refused(server, press):
    """A key that was sent once is compromised."""
    key = generate_identity_key()
    private = key.jose_key.as_dict(private=True)
    answer = await ask_bound(server, press, dpop(key, server, header={"jwk": private}))
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_dpop_proof")


async def test_an_old_nonce_at_a_resource_brings_a_new_one(server, press):
    """A client that keeps the nonce of the token endpoint finds its way (RFC 9449, section 9)."""
    key = generate_identity_key()
    token = await bound(server, press, key)
    shown = await show_bound(server, token, dpop(key, server, token=token, nonce="x" * 24, **VERIFY))
    assert shown.status_code == 401
    assert shown.headers["www-authenticate"].startswith('DPoP error="use_dpop_nonce"')
    proof = dpop(key, server, token=token, nonce=shown.headers["dpop-nonce"], **VERIFY)
    assert (await show_bound(server, token, proof)).status_code == 204
