"""Which texts stand for random bytes, and what becomes of the others."""

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
def test_random_bytes_are_used_as_they_are(text):
    """What the Server, `openssl rand` and `generate-key` make keeps its meaning, and costs nothing at the start."""
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
def test_other_text_is_not_taken_for_random_bytes(text):
    """A phrase, a key that was cut or mistyped, bytes that are not text."""
    assert not is_random_form(text)


def test_other_text_is_stretched():
    """A key that a person may have chosen is stretched, the same each time; the text itself is what an older database has."""
    text = b"Zt8qYw3nV5rKc1xLm7Pb2Hd9Gf4Js6Ua"
    stretched, as_it_is = key_forms(text)

    assert as_it_is == text
    assert stretched.decode() == STRETCHED
    assert is_random_form(stretched)


def test_what_a_server_makes_is_in_a_random_form():
    """Of a thousand keys of 32 random bytes hardly one has no digit, small letter or capital."""
    keys = [base64.urlsafe_b64encode(secrets.token_bytes(32)) for _ in range(1_000)]

    assert sum(not is_random_form(key) for key in keys) < 20
