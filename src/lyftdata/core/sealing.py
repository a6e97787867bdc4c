"""
Encrypts stored secrets that must be readable again, such as signing keys and webhook secrets, with AES-256-GCM.

Passwords and API keys are stored as digests instead, since they are only compared.
"""

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

NONCE_BYTES = 12


class UnsealError(Exception):
    """The key or the context is another one, or the text was tampered with."""


def seal(plain: bytes, *, key: bytes, nonce: bytes, context: str) -> bytes:
    """
    Return the nonce and the encrypted text.

    Args:
        plain: The text.
        key: 32 bytes that are not in the database.
        nonce: 12 random bytes, never used twice with one key: reuse would reveal the key stream (NIST SP 800-38D, section 8).
        context: What the text belongs to. Substitution: it is authenticated, so that someone who can write to the database
            cannot move one record's text to another.
    """
    return nonce + AESGCM(key).encrypt(nonce, plain, context.encode())


def unseal(sealed: bytes, *, key: bytes, context: str) -> bytes:
    """Return the decrypted text; raises UnsealError."""
    try:
        return AESGCM(key).decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], context.encode())
    except (InvalidTag, ValueError) as error:
        raise UnsealError from error
