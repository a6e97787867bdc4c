"""Encodes bytes as base64url, and derives keys from keys."""

import binascii
from hashlib import sha256

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

KEY_BYTES = 32

_TO_BASE64URL = bytes.maketrans(b"+/", b"-_")
# `+`, `/` and `=` become a character that is invalid in every base64: they do not belong to unpadded base64url.
_TO_BASE64 = bytes.maketrans(b"-_+/=", b"+/!!!")
# By the number of characters after the last complete group of four: two encode one byte with four unused bits, three encode two
# bytes with two unused bits. The unused bits must be zero.
_LAST_CHARACTERS = {2: frozenset("AQgw"), 3: frozenset("AEIMQUYcgkosw048")}
_PADDING = (b"", b"", b"==", b"=")


def base64url(raw: bytes) -> str:
    """Return bytes as base64url without padding (RFC 7515, section 2)."""
    return base64url_bytes(raw).decode()


def base64url_bytes(raw: bytes) -> bytes:
    """Return bytes as base64url without padding, in ASCII."""
    return binascii.b2a_base64(raw, newline=False).translate(_TO_BASE64URL).rstrip(b"=")


def decode_base64url(text: str) -> bytes:
    """
    Decode base64url without padding.

    Raises:
        ValueError: An invalid character, or not the encoding that `base64url` returns.
    """
    rest = len(text) % 4
    if rest == 1:
        raise ValueError("is not base64url")
    # Malleability: Python ignores the unused bits, so one signature would have several encodings, and a changed token would still
    # verify, with a digest that was not revoked or used.
    if rest and text[-1] not in _LAST_CHARACTERS[rest]:
        raise ValueError("is not canonical base64url")
    try:
        standard = text.encode("ascii").translate(_TO_BASE64)
        # Strict: a character of another alphabet is an error, and is not skipped.
        return binascii.a2b_base64(standard + _PADDING[rest], strict_mode=True)
    except ValueError:
        raise ValueError("is not base64url") from None


def text_digest(text: str) -> bytes:
    """Return the SHA-256 of a text in UTF-8, even of invalid Unicode, which a caller may send."""
    return sha256(text.encode("utf-8", "surrogateescape")).digest()


def derive_key(secret: bytes, *, info: bytes) -> bytes:
    """
    Return 32 bytes for one purpose (HKDF-SHA256 without salt, RFC 5869).

    Args:
        secret: The input key; must have enough entropy by itself.
        info: Names the purpose. Key separation: no key serves two purposes, so a leaked one reveals nothing about another.
    """
    return HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=None, info=info).derive(secret)
