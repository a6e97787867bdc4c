"""DPoP proofs are valid for one request, one token and a short time (RFC 9449, section 4.3)."""

import hashlib
from datetime import timedelta

import pytest
from tests.builders import NOON, case
from tests.unit.core.forge import altered, b64, hs256, join

from lyftdata.core._jose import sign
from lyftdata.core.dpop import DpopProofError, verify_dpop_proof
from lyftdata.core.identity_keys import generate_identity_key

KEY = generate_identity_key()
JWK = KEY.public.as_dict()
URL = "https://service.example.com/orders"
TOKEN = "a.worker.token"
NOW_S = int(NOON.timestamp())
CLAIMS = {
    "htm": "GET",
    "htu": URL,
    "iat": NOW_S,
    "jti": "j1",
    "ath": b64(hashlib.sha256(TOKEN.encode()).digest()),
}


def proof(header=None, **claims):
    """Return a validly signed proof with the given members; None removes a claim."""
    given = {name: value for name, value in (CLAIMS | claims).items() if value is not None}
    return sign({"alg": "ES256", "typ": "dpop+jwt", "jwk": JWK, **(header or {})}, given, key=KEY.jose_key)


def verify(unverified, *, method="GET", url=URL, token=TOKEN, now=NOON):
    """Verify a proof of a request at noon."""
    return verify_dpop_proof(unverified, method=method, url=url, now=now, access_token=token)


def test_a_proof_returns_the_thumbprint_of_its_key():
    """The caller compares it with the token's `cnf`."""
    assert verify(proof()).thumbprint == KEY.public.thumbprint


@pytest.mark.parametrize(
    "forged",
    [
        # Type confusion: an assertion is signed with the same key, but is not a proof.
        proof({"typ": "JWT"}),
        altered(proof(), header={"typ": None}),
        # Algorithm confusion, and signatures of other keys.
        join({"alg": "none", "typ": "dpop+jwt", "jwk": JWK}, CLAIMS, b""),
        altered(proof(), header={"alg": "EdDSA"}),
        hs256({"alg": "HS256", "typ": "dpop+jwt", "jwk": JWK}, CLAIMS, KEY.public.canonical_jwk.encode()),
        altered(proof(), header={"jwk": generate_identity_key().public.as_dict()}),
        altered(proof(), header={"jwk": None}),
        altered(proof(), header={"jwk": JWK | {"d": b64(bytes(32))}}),
        altered(proof(), header={"jku": "https://evil.example.com/jwks"}),
        # Relay: another method or URL.
        proof(htm="POST"),
        proof(htu="https://other.example.com/orders"),
        proof(htu=f"{URL}/../admin"),
        proof(htu="https://service.example.com@other.example.com/orders"),
        # Replay and pre-generation.
        proof(iat=NOW_S - 61),
        proof(iat=NOW_S + 6),
        # Substitution: another token, or none.
        proof(ath=b64(hashlib.sha256(b"another").digest())),
        proof(ath=None),
        proof(jti=None),
    ],
    ids=case,
)
def test_a_proof_that_does_not_fit_the_request_is_refused(forged):
    """Another type, key, method, URL, time or token, even if it is correctly signed."""
    with pytest.raises(DpopProofError):
        verify(forged)


@pytest.mark.parametrize(("seconds", "is_good"), [(-5, True), (-6, False), (60, True), (61, False)])
def test_a_proof_is_accepted_for_a_minute(seconds, is_good):
    """Only five seconds of clock skew are allowed the other way: a proof must not be made in advance."""
    now = NOON + timedelta(seconds=seconds)
    if is_good:
        assert verify(proof(), now=now)
    else:
        with pytest.raises(DpopProofError):
            verify(proof(), now=now)
