"""base64url and key derivation agree with the examples of their standards."""

import pytest

from lyftdata.core.encoding import base64url, decode_base64url, derive_key


def test_base64url_matches_the_standard():
    """Without padding, and with its own two characters (RFC 7515, appendix C)."""
    assert base64url(bytes([3, 236, 255, 224, 193])) == "A-z_4ME"
    assert decode_base64url("A-z_4ME") == bytes([3, 236, 255, 224, 193])
    assert (base64url(b""), decode_base64url("")) == ("", b"")


@pytest.mark.parametrize("text", ["A", "A-z_4MF", "A-z_4ME=", "A+z/4ME", "A-z_ 4ME", "A-z_4ME\n", "ä"])
def test_bytes_have_only_one_encoding(text):
    """Padding, another alphabet, white space, truncated text and stray bits are rejected."""
    with pytest.raises(ValueError, match="base64url"):
        decode_base64url(text)


def test_key_derivation_matches_the_standard():
    """HKDF-SHA256 without salt and info (RFC 5869, appendix A.3), the first 32 bytes."""
    expected = "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d"

    assert derive_key(bytes([0x0B] * 22), info=b"").hex() == expected
    assert derive_key(bytes([0x0B] * 22), info=b"another purpose").hex() != expected
