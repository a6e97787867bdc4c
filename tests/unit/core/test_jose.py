"""Compact JWS, taken apart: one spelling of each, and nothing that is to be believed."""

import base64
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lyftdata.core._jose import JwsError, UnverifiedJws, _decode

CHARACTERS = string.ascii_letters + string.digits + "-_"


def encoded(raw):
    """Return base64url without padding."""
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


@given(st.binary(max_size=200))
def test_what_is_encoded_is_decoded(raw):
    """Whatever bytes a part is made of come out of it."""
    assert _decode(encoded(raw)) == raw


@given(st.text(st.sampled_from(CHARACTERS + "+/= \nä٣"), max_size=12))
def test_no_bytes_have_two_spellings(part):
    """Another alphabet, padding, bits that no byte is made of, a digit of another script: refused."""
    try:
        raw = _decode(part)
    except JwsError:
        if set(part) <= set(CHARACTERS) and len(part) % 4 != 1:
            assert encoded(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))) != part
    else:
        assert encoded(raw) == part


def test_it_does_not_show_what_it_holds():
    """An assertion or a proof that is good once must not stand in a traceback."""
    assert "eyJ" not in repr(UnverifiedJws("eyJhbGciOiJub25lIn0.e30.eA"))


@pytest.mark.parametrize("unverified", ["", "a.b", "e30.e30", "e30.e30.e30.e30", "e30.W10.", "e30=.e30."])
def test_what_is_no_jws_is_refused(unverified):
    """Three parts, each one object, in one spelling."""
    with pytest.raises(JwsError):
        UnverifiedJws(unverified)
