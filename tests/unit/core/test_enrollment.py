"""The enrollment key and its proof."""

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.builders import ENROLLMENT_KEY, ISSUER, NOON, case, seeded_bytes
from tests.unit.core.forge import altered, hs256, parts

from lyftdata.core._jose import JwsError, UnverifiedJws, sign
from lyftdata.core.enrollment import (
    PROOF_TYPE,
    EnrollmentKey,
    check_enrollment_key_length,
    generate_enrollment_key,
    make_proof,
    read_proof,
    verify_proof,
)
from lyftdata.core.errors import InvalidInputError
from lyftdata.core.refusals import MalformedProofError, ProofExpiredError, WrongEnrollmentKeyError
from lyftdata.core.secret import Secret

CURRENT = EnrollmentKey(Secret(ENROLLMENT_KEY))
PREVIOUS = EnrollmentKey(Secret(ENROLLMENT_KEY[::-1]))
RING = [("f-current", CURRENT), ("f-previous", PREVIOUS)]
NOW_S = int(NOON.timestamp())


def prove(key=CURRENT, **changes):
    """Make a proof at noon."""
    given: dict[str, Any] = {
        "audience": ISSUER,
        "worker_name": "press",
        "thumbprint": "t" * 43,
        "now": NOON,
        "jti": "j1",
    }
    return make_proof(key, **(given | changes))


def verify(proof, *, keys=RING, now=NOON):
    """Verify a proof; what is no JWS is taken for the secret itself, and is not that either."""
    try:
        unverified = UnverifiedJws(proof)
    except JwsError as error:
        raise WrongEnrollmentKeyError from error
    return verify_proof(unverified, keys=keys, audiences=[ISSUER], now=now)


def signed(header=None, **claims):
    """Return a proof under the right key with claims of the test's choice."""
    given = {
        "aud": ISSUER,
        "name": "n",
        "jkt": "t" * 43,
        "jti": "j",
        "iat": NOW_S,
        "exp": NOW_S + 60,
    } | claims
    full = {"alg": "HS256", "typ": PROOF_TYPE} | (header or {})
    return sign(full, {k: v for k, v in given.items() if v is not None}, key=CURRENT.proof_key)


def test_a_proof_says_which_secret_and_what_for():
    """Name, key thumbprint and the secret's fingerprint come out."""
    proof = verify(prove())

    assert (proof.fingerprint, proof.worker_name, proof.thumbprint, proof.jti) == (
        "f-current",
        "press",
        "t" * 43,
        "j1",
    )


def test_the_previous_secret_still_proves():
    """During a rotation Workers with the old secret get in, and it is seen which one they used."""
    assert verify(prove(PREVIOUS)).fingerprint == "f-previous"


def test_the_secret_is_not_in_the_proof():
    """Neither the secret nor its plain hash can be read off what is sent."""
    assert ENROLLMENT_KEY not in prove()
    assert ENROLLMENT_KEY not in repr(CURRENT)
    forged = hs256(parts(prove())[0], parts(prove())[1], ENROLLMENT_KEY.encode())
    with pytest.raises(WrongEnrollmentKeyError):
        verify(forged)


@pytest.mark.parametrize(
    "wrong",
    [
        prove(EnrollmentKey(Secret("x" * 32))),
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
def test_without_the_secret_nothing_is_proved(wrong):
    """Another key, a changed claim or algorithm: wrong enrollment key."""
    with pytest.raises(WrongEnrollmentKeyError):
        verify(wrong)


@pytest.mark.parametrize(
    "malformed",
    [
        signed(aud="https://other.example"),
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
def test_a_right_secret_does_not_excuse_a_wrong_proof(malformed):
    """For another Server, too long-lived, or a claim missing: malformed."""
    with pytest.raises(MalformedProofError):
        verify(malformed)


@pytest.mark.parametrize(
    ("offset_s", "refused"), [(-91, True), (-90, True), (-89, False), (0, False), (30, False), (31, True)]
)
def test_a_proof_lives_a_minute_give_or_take_the_leeway(offset_s, refused):
    """Older than a minute and half, or more than half a minute ahead: expired, and it says by how much."""
    proof = prove(now=NOON + timedelta(seconds=offset_s))
    if refused:
        with pytest.raises(ProofExpiredError, match="clock"):
            verify(proof)
    else:
        assert verify(proof)


def test_a_clock_hours_off_is_told_in_hours():
    """The operator reads that the Worker's clock is four hours behind."""
    with pytest.raises(ProofExpiredError) as refused:
        verify(prove(now=NOON - timedelta(hours=4)))
    assert "3h59m" in refused.value.detail


def test_off_means_nothing_matches():
    """With no secret nothing is proved."""
    with pytest.raises(WrongEnrollmentKeyError):
        verify(prove(), keys=[])


@given(st.data())
def test_no_mutation_of_a_proof_verifies(data):
    """Change any one character of a proof and it is refused."""
    proof = prove()
    at = data.draw(st.integers(0, len(proof) - 1))
    character = data.draw(st.sampled_from("ABCXYZabcxyz0189-_.").filter(lambda c: c != proof[at]))

    with pytest.raises((WrongEnrollmentKeyError, MalformedProofError)):
        verify(proof[:at] + character + proof[at + 1 :])


def test_the_raw_secret_matches_itself_only():
    """The secret itself is recognised, and nothing near it."""
    assert CURRENT.matches(ENROLLMENT_KEY)
    assert not any(
        CURRENT.matches(near)
        for near in (ENROLLMENT_KEY[:-1], ENROLLMENT_KEY + "x", "", ENROLLMENT_KEY.lower())
    )


def test_fingerprints_need_the_pepper():
    """A fingerprint tells secrets apart, is stable, and cannot be computed from the secret alone."""
    assert CURRENT.fingerprint(b"p") == EnrollmentKey(Secret(ENROLLMENT_KEY)).fingerprint(b"p")
    assert len({CURRENT.fingerprint(b"p"), PREVIOUS.fingerprint(b"p"), CURRENT.fingerprint(b"q")}) == 3
    assert len(CURRENT.fingerprint(b"p")) == 16


@pytest.mark.parametrize(("length", "fine"), [(31, False), (32, True)])
def test_thirty_two_characters_are_the_least(length, fine):
    """One character less is refused, and the message names the command that makes a good one."""
    if fine:
        check_enrollment_key_length(Secret("x" * length))
    else:
        with pytest.raises(InvalidInputError, match="lyftdata enrollment generate-key"):
            check_enrollment_key_length(Secret("x" * length))


@given(st.integers())
def test_generated_secrets_are_long(seed):
    """What the program makes itself is longer than it demands."""
    assert len(generate_enrollment_key(seeded_bytes(seed))) == 43


@pytest.mark.parametrize(
    ("text", "is_proof"),
    [(prove(), True), (ENROLLMENT_KEY, False), ("a.b.c", False), ("", False)],
    ids=case,
)
def test_a_proof_is_told_from_the_secret_itself(text, is_proof):
    """Only a JWS of the right type is taken for a proof; a secret with dots stays a secret."""
    assert (read_proof(text) is not None) is is_proof
