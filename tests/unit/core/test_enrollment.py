"""Proofs of the enrollment key."""

from datetime import timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st
from tests.builders import ENROLLMENT_KEY, ISSUER, NOON, case, seeded_bytes
from tests.unit.core.forge import altered, b64, hs256, join, parts

from lyftdata.core._jose import JwsError, UnverifiedJws, sign
from lyftdata.core.encoding import decode_base64url
from lyftdata.core.enrollment import PROOF_TYPE, make_proof, read_proof, verify_proof
from lyftdata.core.enrollment_secrets import derive_proof_key, generate_enrollment_key, make_verifier
from lyftdata.core.refusals import MalformedProofError, ProofExpiredError, WrongEnrollmentKeyError
from lyftdata.core.secret import Secret

FORMER = "https://old.example"
ISSUERS = [ISSUER, FORMER]
SECRETS = [Secret(ENROLLMENT_KEY), generate_enrollment_key(seeded_bytes(2))]
CURRENT, PREVIOUS = (derive_proof_key(secret, audience=ISSUER) for secret in SECRETS)
RING = [
    ("f-current", make_verifier(SECRETS[0], audiences=ISSUERS)),
    ("f-previous", make_verifier(SECRETS[1], audiences=ISSUERS)),
]
NOW_S = int(NOON.timestamp())


def prove(key=CURRENT, **changes):
    """Make a proof at noon."""
    given: dict[str, Any] = {"worker_name": "press", "thumbprint": "t" * 43, "now": NOON, "jti": "j1"}
    return make_proof(key, **(given | changes))


def verify(proof, *, keys=RING, now=NOON):
    """Verify a proof; text that is not a JWS is refused as a wrong key."""
    try:
        unverified = UnverifiedJws(proof)
    except JwsError as error:
        raise WrongEnrollmentKeyError from error
    return verify_proof(unverified, keys=keys, audiences=ISSUERS, now=now)


def signed(header=None, **claims):
    """Return a proof signed with the right key, with the given claims; None removes one."""
    given = {
        "aud": ISSUER,
        "name": "n",
        "jkt": "t" * 43,
        "jti": "j",
        "iat": NOW_S,
        "exp": NOW_S + 60,
    } | claims
    full = {"alg": "Ed25519", "typ": PROOF_TYPE} | (header or {})
    return sign(full, {k: v for k, v in given.items() if v is not None}, key=CURRENT.signing_key)


def test_a_proof_returns_its_secrets_fingerprint_and_its_claims():
    """The fingerprint, the Worker's name, the key's thumbprint and the jti."""
    proof = verify(prove())

    assert (proof.fingerprint, proof.worker_name, proof.thumbprint, proof.jti) == (
        "f-current",
        "press",
        "t" * 43,
        "j1",
    )


def test_the_previous_secret_is_still_accepted():
    """During a rotation Workers may use the old secret; the fingerprint shows which one was used."""
    assert verify(prove(PREVIOUS)).fingerprint == "f-previous"


def test_a_proof_does_not_contain_the_secret():
    """Neither the proof nor a repr has the secret, and the secret is not an HMAC key for it."""
    assert ENROLLMENT_KEY[27:] not in prove()
    assert ENROLLMENT_KEY[27:] not in f"{CURRENT!r} {RING!r}"
    header = {"alg": "HS256", "typ": PROOF_TYPE}
    with pytest.raises(WrongEnrollmentKeyError):
        verify(hs256(header, parts(prove())[1], ENROLLMENT_KEY.encode()))


def test_the_public_key_is_not_accepted_as_an_hmac_key():
    """Algorithm confusion: the key that the Server stores cannot sign a proof."""
    public = decode_base64url(str(RING[0][1].public_key(ISSUER).as_dict()["x"]))
    with pytest.raises(WrongEnrollmentKeyError):
        verify(hs256({"alg": "HS256", "typ": PROOF_TYPE}, parts(prove())[1], public))


@pytest.mark.parametrize("algorithm", ["Ed25519", "EdDSA"])
def test_both_names_of_the_algorithm_are_accepted(algorithm):
    """A client in another language uses the name that its library knows."""
    header, claims, _ = parts(prove())
    message = join(header | {"alg": algorithm}, claims, b"").rstrip(".")
    private = CURRENT.signing_key.private_key
    assert isinstance(private, Ed25519PrivateKey)
    signature = private.sign(message.encode())

    assert verify(f"{message}.{b64(signature)}").fingerprint == "f-current"


@pytest.mark.parametrize(
    "wrong",
    [
        prove(derive_proof_key(generate_enrollment_key(seeded_bytes(3)), audience=ISSUER)),
        altered(prove(), claims={"name": "other"}),
        altered(prove(), claims={"jkt": "u" * 43}),
        altered(prove(), header={"alg": "none"}),
        altered(prove(), header={"alg": "HS512"}),
        hs256({"alg": "HS256", "typ": PROOF_TYPE}, parts(prove())[1], b""),
        prove() + "A",
        "a.b.c",
        "",
    ],
    ids=case,
)
def test_a_proof_made_without_the_secret_is_refused(wrong):
    """Another key, or a changed claim or algorithm, is a wrong enrollment key."""
    with pytest.raises(WrongEnrollmentKeyError):
        verify(wrong)


@pytest.mark.parametrize(
    "malformed",
    [
        signed(aud="https://other.example"),
        prove(derive_proof_key(SECRETS[0], audience="https://other.example")),
        signed(aud=[ISSUER, "https://other.example"]),
        signed(aud=None),
        signed(name=None),
        signed(name=5),
        signed(jkt=None),
        signed(jti=None),
        signed(jti="j" * 129),
        signed(iat=None),
        signed(exp=None),
        signed(exp=NOW_S + 61),
        signed(exp=NOW_S),
        signed(iat=True),
        signed({"typ": "JWT"}),
    ],
    ids=case,
)
def test_a_malformed_proof_is_refused_even_with_the_right_secret(malformed):
    """For another Server, with too long a lifetime, or with a claim missing."""
    with pytest.raises(MalformedProofError):
        verify(malformed)


@pytest.mark.parametrize(
    ("offset_s", "refused"), [(-91, True), (-90, True), (-89, False), (0, False), (30, False), (31, True)]
)
def test_a_proof_is_valid_for_a_minute_with_leeway(offset_s, refused):
    """More than a minute and a half old, or more than half a minute ahead, it has expired; the refusal says by how much."""
    proof = prove(now=NOON + timedelta(seconds=offset_s))
    if refused:
        with pytest.raises(ProofExpiredError, match="clock"):
            verify(proof)
    else:
        assert verify(proof)


def test_a_skew_of_hours_is_reported_in_hours():
    """So that the operator reads that the Worker's clock is four hours behind."""
    with pytest.raises(ProofExpiredError) as refused:
        verify(prove(now=NOON - timedelta(hours=4)))
    assert "3h59m" in refused.value.detail


def test_without_a_secret_every_proof_is_refused():
    """Enrollment is then off."""
    with pytest.raises(WrongEnrollmentKeyError):
        verify(prove(), keys=[])


@given(st.data())
def test_a_proof_with_one_changed_character_is_refused(data):
    """At any position."""
    proof = prove()
    at = data.draw(st.integers(0, len(proof) - 1))
    character = data.draw(st.sampled_from("ABCXYZabcxyz0189-_.").filter(lambda c: c != proof[at]))

    with pytest.raises((WrongEnrollmentKeyError, MalformedProofError)):
        verify(proof[:at] + character + proof[at + 1 :])


@pytest.mark.parametrize(
    ("text", "is_proof"),
    [(prove(), True), (ENROLLMENT_KEY, False), ("a.b.c", False), ("", False)],
    ids=case,
)
def test_only_a_jws_of_the_right_type_is_read_as_a_proof(text, is_proof):
    """A secret with dots is still a secret."""
    assert (read_proof(text) is not None) is is_proof
