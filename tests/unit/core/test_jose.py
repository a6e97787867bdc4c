"""A compact JWS is split into its parts, with one encoding of each, and without trusting any of them."""

import base64
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st
from joserfc.jws import JWSRegistry
from tests.unit.core.forge import b64, join

from lyftdata.core._jose import JwsError, UnverifiedJws, _decode
from lyftdata.core.identity_keys import generate_identity_key

CHARACTERS = string.ascii_letters + string.digits + "-_"


def encoded(raw):
    """Encode as base64url without padding."""
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


@given(st.binary(max_size=200))
def test_a_part_decodes_to_its_bytes(raw):
    """For any bytes."""
    assert _decode(encoded(raw)) == raw


@given(st.text(st.sampled_from(CHARACTERS + "+/= \nä٣"), max_size=12))
def test_bytes_have_only_one_encoding(part):
    """Another alphabet, padding, stray bits and digits of other scripts are refused."""
    try:
        raw = _decode(part)
    except JwsError:
        if set(part) <= set(CHARACTERS) and len(part) % 4 != 1:
            assert encoded(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))) != part
    else:
        assert encoded(raw) == part


def test_the_repr_of_a_jws_does_not_contain_it():
    """A single-use assertion or proof must not appear in a traceback."""
    assert "eyJ" not in repr(UnverifiedJws("eyJhbGciOiJub25lIn0.e30.eA"))


@pytest.mark.parametrize("unverified", ["", "a.b", "e30.e30", "e30.e30.e30.e30", "e30.W10.", "e30=.e30."])
def test_a_malformed_jws_is_refused(unverified):
    """It needs three parts, with JSON objects in canonical encoding."""
    with pytest.raises(JwsError):
        UnverifiedJws(unverified)


@pytest.mark.parametrize("name", ["crit", "jwk", "jku", "x5u", "x5c", "b64", "zip", "enc"])
def test_a_header_with_a_key_or_an_extension_is_refused(name):
    """The sender chooses neither the key that verifies its token, nor a URL to fetch, nor how the token is parsed."""
    with pytest.raises(JwsError, match=f"holds {name}"):
        UnverifiedJws(join({"alg": "ES256", name: "x"}, {}, b"s"))


def test_only_a_proof_of_possession_may_carry_its_key():
    """`jwk` is accepted only there, and no similar parameter with it."""
    UnverifiedJws(join({"alg": "ES256", "jwk": {}}, {}, b"s"), carries_key=True)
    with pytest.raises(JwsError, match="holds jku"):
        UnverifiedJws(join({"alg": "ES256", "jwk": {}, "jku": "x"}, {}, b"s"), carries_key=True)


def test_the_length_is_checked_before_anything_is_parsed():
    """A long token costs its sender bandwidth, but no parsing here."""
    with pytest.raises(JwsError, match="longer than 4096"):
        UnverifiedJws("." * 4_097)


@pytest.mark.parametrize("header", [{"alg": ["ES256"]}, {"alg": "ES256", "kid": 5}, {"alg": None}])
def test_a_header_parameter_that_is_not_text_is_refused(header):
    """A list as `alg` or a number as `kid` could compare equal to something later."""
    with pytest.raises(JwsError, match="Its header"):
        UnverifiedJws(join(header, {}, b"s"))


@pytest.mark.parametrize("name", ["x-extra", "KID"])
def test_an_unregistered_header_parameter_is_refused_even_if_signed(name):
    """It may mean something to another reader of the token."""
    key = generate_identity_key()
    message = join({"alg": "ES256", name: "x"}, {}, b"").rpartition(".")[0]
    signature = JWSRegistry.algorithms["ES256"].sign(message.encode(), key.jose_key)

    with pytest.raises(JwsError, match="unregistered parameter"):
        UnverifiedJws(f"{message}.{b64(signature)}").check_signature(key=key.public.key, algorithms=["ES256"])
