"""Worker tokens: what they contain, when they expire, and what is refused."""

import base64
import warnings
from datetime import timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st
from joserfc import jwt
from joserfc.jwk import KeySet
from tests.builders import ISSUER, NOON, case, worker
from tests.unit.core.forge import altered, b64, hs256, join, merged, parts

from lyftdata.core.assertions import make_assertion
from lyftdata.core.identity_keys import generate_identity_key
from lyftdata.core.keyring import generate_signing_key
from lyftdata.core.refusals import TokenExpiredError, WrongTokenError
from lyftdata.core.tokens import (
    Credential,
    format_credential,
    mint_worker_token,
    parse_credential,
    verify_worker_token,
)

KEYS = {algorithm: generate_signing_key(algorithm) for algorithm in ("ES256", "Ed25519")}
SIGNER = KEYS["ES256"]
RING = {key.kid: key.verification for key in KEYS.values()}
WORKER = worker("w-17", name="Prëss ✓", labels={"zone": "eu-1", "gpu": ""})


def mint(signer=SIGNER, **changes):
    """Mint a token at noon that is valid for fifteen minutes."""
    given = {
        "signer": signer,
        "issuer": ISSUER,
        "audience": ISSUER,
        "worker": WORKER,
        "credential": "key.abc.1",
        "now": NOON,
        "ttl_s": 900,
        "jti": "j1",
    }
    return mint_worker_token(**(given | changes))


def verify(token, *, keys=RING, now=NOON, issuer=ISSUER, audience=ISSUER):
    """Verify a token."""
    return verify_worker_token(token, keys=keys, issuers=[issuer], audience=audience, now=now)


def resigned(token, *, header=None, claims=None, signer=SIGNER):
    """Return a token with members changed and validly signed again with one of the Server's keys."""
    old_header, old_claims, _ = parts(token)
    message = join(merged(old_header, header), merged(old_claims, claims), b"").rstrip(".")
    return f"{message}.{b64(signer.sign(message.encode()))}"


@pytest.mark.parametrize("algorithm", list(KEYS))
def test_a_token_identifies_the_worker(algorithm):
    """Verification returns what was minted."""
    claims = verify(mint(KEYS[algorithm]))

    assert (claims.iss, claims.aud, claims.sub, claims.client_id) == (ISSUER, ISSUER, "w-17", "w-17")
    assert (claims.worker_name, claims.auth_strategy) == ("Prëss ✓", "api_key")
    assert claims.labels == {"zone": "eu-1", "gpu": ""}
    assert claims.exp - claims.iat == 900


@pytest.mark.parametrize("algorithm", list(KEYS))
def test_another_library_accepts_worker_tokens(algorithm):
    """With only the published JWKs, joserfc verifies a token that lyftdata assembled itself."""
    token = mint(KEYS[algorithm])
    published: list[Any] = [key.public_jwk() for key in KEYS.values()]
    ring = KeySet.import_key_set({"keys": published})

    decoded = jwt.decode(token, ring, algorithms=[algorithm])

    assert decoded.header["typ"] == "at+jwt"
    assert decoded.claims["sub"] == "w-17"


@pytest.mark.parametrize(("seconds_left", "refused"), [(1, False), (0, True), (-1, True)])
def test_a_token_expires_at_exp(seconds_left, refused):
    """It is refused from the very second of its `exp`."""
    now = NOON + timedelta(seconds=900 - seconds_left)
    if refused:
        with pytest.raises(TokenExpiredError):
            verify(mint(), now=now)
    else:
        assert verify(mint(), now=now)


PUBLIC_PEM = SIGNER.private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
HEADER, CLAIMS, SIGNATURE = parts(mint())
OTHER_KEY = generate_signing_key("ES256")


@pytest.mark.parametrize(
    "forged",
    [
        altered(mint(), header={"alg": "none"}),
        join({**HEADER, "alg": "none"}, CLAIMS, b""),
        hs256({**HEADER, "alg": "HS256"}, CLAIMS, PUBLIC_PEM),
        hs256({**HEADER, "alg": "HS256"}, CLAIMS, b""),
        altered(mint(), header={"alg": "Ed25519"}),
        altered(mint(), header={"alg": "ES384"}),
        altered(mint(), header={"kid": None}),
        altered(mint(), header={"kid": "../../etc/passwd"}),
        altered(mint(), header={"kid": KEYS["Ed25519"].kid}),
        altered(mint(), header={"kid": ["a"]}),
        altered(mint(), header={"typ": "JWT"}),
        altered(mint(), header={"typ": None}),
        altered(mint(), header={"crit": ["exp"]}),
        altered(mint(), header={"jwk": OTHER_KEY.public_jwk()}),
        altered(mint(), header={"jku": "https://evil.example/jwks"}),
        altered(mint(), claims={"sub": "w-18"}),
        mint(OTHER_KEY),
        mint(issuer="https://evil.example"),
        mint(audience="https://other.example"),
        mint() + "A",
        mint() + ".",
        mint()[:-4],
        mint() + "=",
        " " + mint(),
        "",
        "..",
        "a.b.c",
        "é.é.é",
        join(HEADER, CLAIMS, SIGNATURE + b"\x00"),
        join(HEADER, CLAIMS, SIGNATURE[:32]),
        join(HEADER, CLAIMS, bytes(64)),
        join([], CLAIMS, SIGNATURE),
        join(HEADER, [], SIGNATURE),
        "x" * 5000,
    ],
    ids=case,
)
def test_a_forged_token_is_refused(forged):
    """For a wrong algorithm, key, type, claim, encoding or length, whatever its signature."""
    with pytest.raises(WrongTokenError):
        verify(forged)


@pytest.mark.parametrize(
    "claims",
    [
        {"exp": None},
        {"exp": "1795520569"},
        {"exp": True},
        {"exp": 1e400},
        {"exp": -1},
        {"sub": 5},
        {"sub": None},
        {"client_id": "w-18"},
        {"aud": None},
        {"aud": {"a": 1}},
        {"aud": ["https://other.example"]},
        {"iss": None},
        {"cred": None},
        {"labels": ["x"]},
    ],
)
def test_claims_of_the_wrong_type_are_refused_even_if_signed(claims):
    """Even if the Server ever signed malformed claims, they would not be accepted as a Worker's."""
    with pytest.raises((WrongTokenError, TokenExpiredError)):
        verify(resigned(mint(), claims=claims))


def test_an_assertion_is_not_a_worker_token():
    """What a Worker signs to authenticate gives access to nothing by itself."""
    key = generate_identity_key()
    assertion = make_assertion(key, worker_id="w-17", audience=ISSUER, now=NOON, jti="j")

    with pytest.raises(WrongTokenError):
        verify(assertion)


def test_a_token_of_a_retired_key_is_refused():
    """From when the key is no longer in the ring."""
    with pytest.raises(WrongTokenError):
        verify(mint(), keys={OTHER_KEY.kid: OTHER_KEY.verification})


@given(st.data())
def test_a_token_with_one_changed_character_is_refused(data):
    """At any position."""
    token = mint()
    at = data.draw(st.integers(0, len(token) - 1))
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.=+/"
    character = data.draw(st.sampled_from(alphabet).filter(lambda c: c != token[at]))

    with pytest.raises(WrongTokenError):
        verify(token[:at] + character + token[at + 1 :])


@given(st.text(max_size=200))
def test_arbitrary_text_is_refused(text):
    """The verifier raises no other error, whatever the text is."""
    with pytest.raises(WrongTokenError):
        verify(text)


@pytest.mark.parametrize(
    ("kind", "value"), [("key", "AbC0123456"), ("jkt", "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs")]
)
def test_a_credential_claim_can_be_parsed(kind, value):
    """It results in the same kind, value and epoch."""
    assert parse_credential(format_credential(kind, value, 1795520569043)) == Credential(
        kind, value, 1795520569043
    )


@pytest.mark.parametrize(
    "text", ["", "key", "key.", "key.x", "key.x.y", "jwt.x.1", "key..1", "key.x.-1", "key.x.٣"]
)
def test_a_malformed_credential_claim_is_refused(text):
    """Any `cred` that this code cannot have written."""
    with pytest.raises(WrongTokenError):
        parse_credential(text)


def test_signing_causes_no_warning_and_a_key_hides_itself():
    """The repr of a signing key has only its algorithm and `kid`."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        mint(KEYS["Ed25519"])
    assert repr(SIGNER) == f"SigningKey(ES256, {SIGNER.kid})"
    assert base64.urlsafe_b64decode(SIGNER.kid + "=")
