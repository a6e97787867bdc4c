"""Time-based one-time passwords."""

from datetime import UTC, datetime
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

from lyftdata.core.sealing import UnsealError
from lyftdata.core.totp import (
    app_uri,
    find_step,
    is_code,
    parse_secret_text,
    seal_totp_secret,
    secret_text,
    unseal_totp_secret,
)

SECRET = b"12345678901234567890"


def at(seconds):
    """Return the time at that many seconds since 1970."""
    return datetime.fromtimestamp(seconds, UTC)


# RFC 6238, appendix B, the rows with SHA-1; the last six of the eight digits.
@pytest.mark.parametrize(
    ("seconds", "code"),
    [
        (59, "287082"),
        (1111111109, "081804"),
        (1111111111, "050471"),
        (1234567890, "005924"),
        (2000000000, "279037"),
        (20000000000, "353130"),
    ],
)
def test_codes_match_the_vectors_of_the_rfc(seconds, code):
    """The step of the code is returned; spaces are ignored."""
    assert find_step(code, SECRET, now=at(seconds)) == seconds // 30
    assert find_step(f" {code[:3]} {code[3:]} ", SECRET, now=at(seconds)) == seconds // 30


@pytest.mark.parametrize(("seconds", "step"), [(29, 1), (30, 1), (59, 1), (60, 1), (89, 1), (90, None)])
def test_a_code_is_accepted_one_step_before_and_after_its_own(seconds, step):
    """Clocks differ, and typing takes a while; two steps away it is wrong."""
    assert find_step("287082", SECRET, now=at(seconds)) == step


@pytest.mark.parametrize("given", ["", "287083", "28708", "2870822", "٢٨٧٠٨٢", "\ud800", "287082\0"])
def test_any_other_text_is_refused(given):
    """A wrong code, too few or too many digits, digits of another script, an unpaired surrogate."""
    assert find_step(given, SECRET, now=at(59)) is None


def test_a_code_is_six_ascii_digits():
    """So it cannot be confused with a recovery code."""
    assert is_code(" 287 082")
    assert not any(is_code(text) for text in ("28708", "2870822", "K7QX-2MPL-9D4T-WZ3A", "٢٨٧٠٨٢"))


def test_the_text_and_the_uri_of_an_app_have_the_same_secret():
    """The URI names the operator and the Server."""
    parts = urlsplit(app_uri(SECRET, operator="ada", host="lyft.example:8443"))
    query = parse_qs(parts.query)

    assert parse_secret_text(secret_text(SECRET)) == parse_secret_text(query["secret"][0]) == SECRET
    assert (parts.scheme, parts.netloc) == ("otpauth", "totp")
    assert unquote(parts.path) == "/lyftdata lyft.example:8443:ada"
    for text in ("not Base32!", "AAAA"):
        with pytest.raises(ValueError):
            parse_secret_text(text)


def test_a_sealed_secret_belongs_to_its_factor():
    """Substitution: copied to another operator's factor, or with another key, it cannot be opened."""
    sealed = seal_totp_secret(SECRET, factor_id="one", key=b"k" * 32, nonce=b"n" * 12)

    assert SECRET not in sealed
    assert unseal_totp_secret(sealed, factor_id="one", key=b"k" * 32) == SECRET
    for factor_id, key in (("two", b"k" * 32), ("one", b"o" * 32)):
        with pytest.raises(UnsealError):
            unseal_totp_secret(sealed, factor_id=factor_id, key=key)
