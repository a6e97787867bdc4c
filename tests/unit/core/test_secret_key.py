"""Which texts encode random bytes, and how other texts are stretched."""

import base64
import secrets

import pytest
from tests.builders import seeded_bytes

from lyftdata.core.enrollment_secrets import generate_enrollment_key
from lyftdata.core.secret_key import is_random_form, key_forms

RANDOM = bytes(range(3, 99, 3))
# openssl kdf -keylen 32 -kdfopt pass:Zt8qYw3nV5rKc1xLm7Pb2Hd9Gf4Js6Ua -kdfopt "salt:lyftdata secret key v1" -kdfopt n:32768
#   -kdfopt r:8 -kdfopt p:3 -kdfopt maxmem_bytes:100000000 SCRYPT
STRETCHED = "1f6e14ff54c01a2e976e8a36166eef9fe49210dbded58a414ecb4e4f3e69d2fa"


@pytest.mark.parametrize(
    "text",
    [
        base64.urlsafe_b64encode(RANDOM),
        base64.b64encode(RANDOM),
        base64.urlsafe_b64encode(RANDOM).rstrip(b"="),
        RANDOM.hex().encode(),
        RANDOM.hex().upper().encode(),
        generate_enrollment_key(seeded_bytes()).reveal().encode(),
    ],
)
def test_encoded_random_bytes_are_used_unchanged(text):
    """Keys made by the Server, `openssl rand` and `generate-key` stay the same, and cost nothing at the start."""
    assert key_forms(text) == (text,)


@pytest.mark.parametrize(
    "text",
    [
        b"Zt8qYw3nV5rKc1xLm7Pb2Hd9Gf4Js6Ua",
        b"correcthorsebatterystapleandquitesomemoreok",
        RANDOM.hex().encode()[:-1],
        base64.urlsafe_b64encode(RANDOM)[:-2],
        generate_enrollment_key(seeded_bytes()).reveal().encode()[:-1] + b"?",
        "größerer Schlüssel, 32 Zeichen und mehr".encode(),
        b"\xff" * 40,
    ],
)
def test_other_text_is_not_mistaken_for_random_bytes(text):
    """A phrase, a truncated or mistyped key, bytes that are not text."""
    assert not is_random_form(text)


def test_other_text_is_stretched():
    """A text that a person may have chosen is stretched; the text itself is returned too, since older databases use it."""
    text = b"Zt8qYw3nV5rKc1xLm7Pb2Hd9Gf4Js6Ua"
    stretched, as_it_is = key_forms(text)

    assert as_it_is == text
    assert stretched.decode() == STRETCHED
    assert is_random_form(stretched)


def test_generated_keys_are_recognized_as_random():
    """Among a thousand keys of 32 random bytes hardly one lacks a digit, a lower-case or an upper-case letter."""
    keys = [base64.urlsafe_b64encode(secrets.token_bytes(32)) for _ in range(1_000)]

    assert sum(not is_random_form(key) for key in keys) < 20
