"""Enrollment secrets, and the key pairs that are derived from them."""

import functools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.builders import CHOSEN_ENROLLMENT_KEY, ENROLLMENT_KEY, ISSUER, NOON, seeded_bytes

from lyftdata.core.enrollment import make_proof, read_proof, verify_proof
from lyftdata.core.enrollment_secrets import (
    check_enrollment_key_length,
    derive_proof_key,
    find_flaw,
    find_key_id,
    fingerprint,
    generate_enrollment_key,
    holds_enrollment_key,
    make_verifier,
)
from lyftdata.core.errors import InvalidInputError
from lyftdata.core.redaction import hide_credentials, holds_credential
from lyftdata.core.refusals import WrongEnrollmentKeyError
from lyftdata.core.secret import Secret

FORMER = "https://old.example"
OTHER = "https://other.example"
BOTH = pytest.mark.parametrize("text", [ENROLLMENT_KEY, CHOSEN_ENROLLMENT_KEY], ids=["generated", "chosen"])


def proves(verifier, text, audience):
    """Return whether a Server with two URLs accepts a proof made with this secret for this audience."""
    proof = make_proof(
        derive_proof_key(Secret(text), audience=audience),
        worker_name="press",
        thumbprint="t" * 43,
        now=NOON,
        jti="j",
    )
    unverified = read_proof(proof)
    assert unverified is not None
    try:
        verify_proof(unverified, keys=[("f", verifier)], audiences=[ISSUER, FORMER, OTHER], now=NOON)
    except WrongEnrollmentKeyError:
        return False
    return True


@BOTH
def test_a_secret_is_accepted_for_each_url_of_the_server(text):
    """After a move, Workers still sign for the old URL."""
    verifier = make_verifier(Secret(text), audiences=[ISSUER, FORMER])

    assert proves(verifier, text, ISSUER)
    assert proves(verifier, text, FORMER)


def test_a_chosen_secret_gives_another_key_pair_at_another_server():
    """What leaks from one deployment is of no use against another one with the same secret."""
    keys = {
        str(derive_proof_key(Secret(CHOSEN_ENROLLMENT_KEY), audience=audience).signing_key.as_dict())
        for audience in (ISSUER, FORMER)
    }

    assert len(keys) == 2
    verifier = make_verifier(Secret(CHOSEN_ENROLLMENT_KEY), audiences=[ISSUER])
    assert not proves(verifier, CHOSEN_ENROLLMENT_KEY, OTHER)


def test_the_derivation_is_fixed():
    """
    Worker and Server may have different versions: another derivation would refuse every new Worker.

    The keys were made with only hashlib.scrypt and hmac, as described in docs/decisions/0023.
    """
    public = [
        derive_proof_key(Secret(text), audience=ISSUER).signing_key.as_dict(private=False)["x"]
        for text in (ENROLLMENT_KEY, CHOSEN_ENROLLMENT_KEY)
    ]

    assert public == [
        "H24YtSDYTZijx0XnnMP3Dz_eyUchaoCS3nlTqm0nMgE",
        "Bsv6UxnsRH_UL2IK9ZRAz3j-eGL7-vUvDmYVKSc47-A",
    ]


@BOTH
def test_the_raw_secret_matches_only_itself(text):
    """Similar text is not accepted."""
    verifier = make_verifier(Secret(text), audiences=[ISSUER])

    assert verifier.matches(text)
    assert not any(
        verifier.matches(near) for near in (text[:-1], text + "x", "", text.lower(), "\udcff" + text)
    )


def test_fingerprints_need_the_pepper():
    """A fingerprint distinguishes secrets, is stable, and cannot be computed from the secret alone."""
    one, other = Secret(ENROLLMENT_KEY), Secret(CHOSEN_ENROLLMENT_KEY)

    assert fingerprint(one, b"p") == fingerprint(Secret(ENROLLMENT_KEY), b"p")
    assert len({fingerprint(one, b"p"), fingerprint(other, b"p"), fingerprint(one, b"q")}) == 3
    assert len(fingerprint(one, b"p")) == 16


@pytest.mark.parametrize(("length", "fine"), [(31, False), (32, True)])
def test_a_secret_needs_thirty_two_characters(length, fine):
    """One character less is rejected, with the command that generates a good one."""
    check = functools.partial(check_enrollment_key_length, Secret("x" * length))
    if fine:
        check()
    else:
        with pytest.raises(InvalidInputError, match="lyftdata enrollment generate-key"):
            check()


@given(st.integers())
def test_generated_secrets_can_be_recognized_by_scanners(seed):
    """By prefix, public ID and a valid checksum."""
    text = generate_enrollment_key(seeded_bytes(seed)).reveal()

    assert len(text) == 65
    assert find_key_id(text) == text[16:26]
    assert find_flaw(Secret(text)) is None
    assert holds_enrollment_key(f"key={text};")
    assert holds_credential(text)
    assert hide_credentials(f"name {text}!") == f"name lyftdata_enroll_{text[16:26]}_***!"


@given(st.data())
def test_a_mistyped_generated_secret_is_detected_offline(data):
    """With one changed character it is not a generated secret, and the Worker can say so without the Server."""
    at = data.draw(st.integers(16, 64))
    character = data.draw(st.sampled_from("ABCXYZabcxyz0189").filter(lambda c: c != ENROLLMENT_KEY[at]))
    damaged = ENROLLMENT_KEY[:at] + character + ENROLLMENT_KEY[at + 1 :]

    assert find_key_id(damaged) is None
    assert find_flaw(Secret(damaged)) is not None
    assert not holds_enrollment_key(damaged)


@pytest.mark.parametrize(
    ("text", "flaw"),
    [(CHOSEN_ENROLLMENT_KEY, None), (ENROLLMENT_KEY[:-1], "65 characters, and this one has 64"), ("", None)],
)
def test_a_truncated_generated_secret_is_detected(text, flaw):
    """It is reported with its length; a chosen secret cannot be checked."""
    found = find_flaw(Secret(text))

    assert (flaw is None and found is None) or (flaw or "") in (found or "")
