"""
The forms of the Server's secret key.

Random bytes encoded as text (base64, hexadecimal, a generated enrollment key) are used as they are. Any other text may have been
chosen by a person, so it is stretched first: then each guess costs an attacker with a copy of the database a tenth of a second
and 32 MiB.
"""

import re

from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from lyftdata.core.enrollment_secrets import find_key_id

# The cost that OWASP recommends, as for enrollment keys that a person has chosen.
_SCRYPT_N, _SCRYPT_R, _SCRYPT_P = 2**15, 8, 3
# The same at every Server and for every text: the key must be derived without the database.
_SALT = b"lyftdata secret key v1"
_HEXADECIMAL = re.compile(rb"[0-9a-fA-F]{64}")
_BASE64 = re.compile(rb"[A-Za-z0-9+/_-]{43}=?")
# One in 1,000 random keys has no digit; it is stretched, which does no harm. But a phrase of 43 letters is never used as it is.
_CLASSES = (re.compile(rb"[a-z]"), re.compile(rb"[A-Z]"), re.compile(rb"[0-9]"))


def is_random_form(text: bytes) -> bool:
    """Return whether a key is 32 random bytes in hexadecimal or base64, or a generated enrollment key."""
    if _HEXADECIMAL.fullmatch(text):
        return True
    if _BASE64.fullmatch(text) and all(found.search(text) for found in _CLASSES):
        return True
    return text.isascii() and find_key_id(text.decode()) is not None


def key_forms(text: bytes) -> tuple[bytes, ...]:
    """
    Return the keys that a text may stand for: first the one for a new database, then the one that an older database may use.

    Slow for a text that is not in a random form.
    """
    return (text,) if is_random_form(text) else (_stretch(text), text)


def _stretch(text: bytes) -> bytes:
    """Return the stretched key, in hexadecimal, which is itself a random form."""
    key = Scrypt(salt=_SALT, length=32, n=_SCRYPT_N, r=_SCRYPT_R, p=_SCRYPT_P).derive(text)
    return key.hex().encode()
