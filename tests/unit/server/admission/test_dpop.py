"""Proofs of possession (RFC 9449): a bound token needs a recent proof for this request, accepted once."""

import base64
import json
from datetime import timedelta

import pytest
from tests.builders import ISSUER
from tests.oauth_requests import VERIFY, ask_bound, bound, claims_of, dpop, show_bound

from lyftdata.core.identity_keys import generate_identity_key


async def test_a_bound_token_is_useless_without_its_key(server, press):
    """It is accepted with a proof; stolen, as a bearer token or with a proof by another key, it is refused."""
    key, thief = generate_identity_key(), generate_identity_key()
    token = await bound(server, press, key)
    assert claims_of(token)["cnf"] == {"jkt": key.public.thumbprint}

    assert (await show_bound(server, token, dpop(key, server, token=token, **VERIFY))).status_code == 204
    assert (await server.verify(token)).status_code == 401
    assert (await show_bound(server, token, dpop(thief, server, token=token, **VERIFY))).status_code == 401
    assert (await show_bound(server, token, "nonsense")).status_code == 401


async def test_a_proof_is_accepted_once(server, press):
    """A captured token and proof are refused the second time."""
    key = generate_identity_key()
    token = await bound(server, press, key)
    proof = dpop(key, server, token=token, **VERIFY)
    assert [(await show_bound(server, token, proof)).status_code for _ in range(2)] == [204, 401]


async def test_a_bearer_token_is_rejected_as_a_dpop_token(server, press):
    """A token without `cnf` is not bound to a key."""
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
async def test_a_proof_that_is_not_for_this_request_is_refused(server, press, wrong):
    """Another method, address, token or type, no time, no identifier, an unknown nonce."""
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
async def test_a_proof_must_be_recent(server, press, seconds, status):
    """At most a minute old, and at most five seconds in the future: both sides of both limits."""
    key = generate_identity_key()
    token = await bound(server, press, key)
    iat = int((server.clock() + timedelta(seconds=seconds)).timestamp())
    assert (
        await show_bound(server, token, dpop(key, server, token=token, iat=iat, **VERIFY))
    ).status_code == status


async def test_only_a_recent_nonce_of_this_server_is_accepted(server, press):
    """Two steps later it is too old; the answer has the next one."""
    key = generate_identity_key()
    nonce = (await ask_bound(server, press, dpop(key, server))).headers["dpop-nonce"]
    server.clock.forward(seconds=240)
    for bad in (nonce, "x" * 24, None):
        answer = await ask_bound(server, press, dpop(key, server, nonce=bad))
        assert answer.json()["error"] == "use_dpop_nonce"
        assert answer.headers["dpop-nonce"] != nonce


async def test_a_private_key_in_a_proof_is_refused(server, press):
    """A private key that was sent once is compromised."""
    key = generate_identity_key()
    private = key.jose_key.as_dict(private=True)
    answer = await ask_bound(server, press, dpop(key, server, header={"jwk": private}))
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_dpop_proof")


async def test_an_old_nonce_at_a_resource_brings_a_new_one(server, press):
    """So a client that sends the nonce of the token endpoint can retry (RFC 9449, section 9)."""
    key = generate_identity_key()
    token = await bound(server, press, key)
    shown = await show_bound(server, token, dpop(key, server, token=token, nonce="x" * 24, **VERIFY))
    assert shown.status_code == 401
    assert shown.headers["www-authenticate"].startswith('DPoP error="use_dpop_nonce"')
    proof = dpop(key, server, token=token, nonce=shown.headers["dpop-nonce"], **VERIFY)
    assert (await show_bound(server, token, proof)).status_code == 204
