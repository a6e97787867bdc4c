"""Enrollment secrets, and the key pair that each stands for."""

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
    """Return whether a proof by this secret for this Server passes at a Server with two addresses."""
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
def test_a_secret_proves_at_each_address_of_the_server(text):
    """After a move Workers still sign for the old address."""
    verifier = make_verifier(Secret(text), audiences=[ISSUER, FORMER])

    assert proves(verifier, text, ISSUER)
    assert proves(verifier, text, FORMER)


def test_a_chosen_secret_is_another_key_pair_at_another_server():
    """What one deployment keeps or lets be captured says nothing about another with the same secret."""
    keys = {
        str(derive_proof_key(Secret(CHOSEN_ENROLLMENT_KEY), audience=audience).signing_key.as_dict())
        for audience in (ISSUER, FORMER)
    }

    assert len(keys) == 2
    verifier = make_verifier(Secret(CHOSEN_ENROLLMENT_KEY), audiences=[ISSUER])
    assert not proves(verifier, CHOSEN_ENROLLMENT_KEY, OTHER)


def test_the_derivation_is_fixed():
    """
    Worker and Server may be of different releases: another derivation would lock every new Worker out.

    The keys were made with hashlib.scrypt and hmac alone, by the recipe of docs/decisions/0023.
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
def test_the_raw_secret_matches_itself_only(text):
    """The secret itself is recognized, and nothing near it."""
    verifier = make_verifier(Secret(text), audiences=[ISSUER])

    assert verifier.matches(text)
    assert not any(
        verifier.matches(near) for near in (text[:-1], text + "x", "", text.lower(), "\udcff" + text)
    )


def test_fingerprints_need_the_pepper():
    """A fingerprint tells secrets apart, is stable, and cannot be computed from the secret alone."""
    one, other = Secret(ENROLLMENT_KEY), Secret(CHOSEN_ENROLLMENT_KEY)

    assert fingerprint(one, b"p") == fingerprint(Secret(ENROLLMENT_KEY), b"p")
    assert len({fingerprint(one, b"p"), fingerprint(other, b"p"), fingerprint(one, b"q")}) == 3
    assert len(fingerprint(one, b"p")) == 16


@pytest.mark.parametrize(("length", "fine"), [(31, False), (32, True)])
def test_thirty_two_characters_are_the_least(length, fine):
    """One character less is refused, and the message names the command that makes a good one."""
    check = functools.partial(check_enrollment_key_length, Secret("x" * length))
    if fine:
        check()
    else:
        with pytest.raises(InvalidInputError, match="lyftdata enrollment generate-key"):
            check()


@given(st.integers())
def test_generated_secrets_have_a_form_that_scanners_know(seed):
    """Prefix, public id and a checksum that holds."""
    text = generate_enrollment_key(seeded_bytes(seed)).reveal()

    assert len(text) == 65
    assert find_key_id(text) == text[16:26]
    assert find_flaw(Secret(text)) is None
    assert holds_enrollment_key(f"key={text};")
    assert holds_credential(text)
    assert hide_credentials(f"name {text}!") == f"name lyftdata_enroll_{text[16:26]}_***!"


@given(st.data())
def test_a_mistyped_generated_secret_is_found_offline(data):
    """Any one character changed: it is no generated secret any more, and the Worker can say so without the Server."""
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
def test_what_was_cut_is_found(text, flaw):
    """A cut copy of a generated secret is reported with its length; of a chosen one nothing can be said."""
    found = find_flaw(Secret(text))

    assert (flaw is None and found is None) or (flaw or "") in (found or "")
