"""Encodes bytes as base64url, and derives keys from keys: one implementation each."""

import base64
import binascii
import re
from hashlib import sha256

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

KEY_BYTES = 32

_BASE64URL = re.compile(r"[A-Za-z0-9_-]*")
_TO_BASE64 = str.maketrans("-_", "+/")
# By how many characters stand behind the last four: two make one byte and hold four bits too many, three make two and hold two.
_LAST_CHARACTERS = {2: frozenset("AQgw"), 3: frozenset("AEIMQUYcgkosw048")}
_PADDING = ("", "", "==", "=")


def base64url(raw: bytes) -> str:
    """Return bytes as base64url without padding (RFC 7515, section 2)."""
    return base64url_bytes(raw).decode()


def base64url_bytes(raw: bytes) -> bytes:
    """Return bytes as base64url without padding, in ASCII."""
    return base64.urlsafe_b64encode(raw).rstrip(b"=")


def decode_base64url(text: str) -> bytes:
    """
    Return the bytes that base64url without padding stands for.

    Raises:
        ValueError: Another character, or another spelling than `base64url` gives: without this a token would have several.
    """
    rest = len(text) % 4
    if rest == 1 or not _BASE64URL.fullmatch(text):
        raise ValueError("is not base64url")
    # Python ignores bits that no byte is made of.
    if rest and text[-1] not in _LAST_CHARACTERS[rest]:
        raise ValueError("is not canonical base64url")
    return binascii.a2b_base64(text.translate(_TO_BASE64) + _PADDING[rest])


def text_digest(text: str) -> bytes:
    """Return the SHA-256 of a text in UTF-8; also of one that is not valid Unicode, as a caller may send."""
    return sha256(text.encode("utf-8", "surrogateescape")).digest()


def derive_key(secret: bytes, *, info: bytes) -> bytes:
    """
    Return 32 bytes for one purpose (HKDF-SHA256 without salt, RFC 5869).

    Args:
        secret: What the key is made from; random enough by itself.
        info: Names the purpose, so that no key serves two.
    """
    return HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=None, info=info).derive(secret)
