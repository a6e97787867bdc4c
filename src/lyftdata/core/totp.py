"""
Time-based one-time passwords (RFC 6238), as authenticator apps make them: six digits, 30 seconds, SHA-1.

SHA-1 is what every app supports; its weakness against collisions does not matter in HMAC (RFC 6194, section 3.3).
"""

import base64
import binascii
import hmac
from datetime import datetime
from urllib.parse import quote

from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.twofactor.hotp import HOTP

from lyftdata.core.sealing import seal, unseal

SECRET_BYTES = 20
"""As long as the output of SHA-1 (RFC 4226, section 4, R6)."""

_DIGITS = 6
_STEP_S = 30
# One step each way, for clocks that differ and codes that take a while to type (RFC 6238, section 5.2).
_STEPS_AROUND = 1


def find_step(unverified_code: str, secret: bytes, *, now: datetime) -> int | None:
    """
    Return the time step that this code belongs to, or None.

    Replay: the caller must accept each step once, and none before a step that was accepted (RFC 6238, section 5.2).

    Args:
        unverified_code: As typed; spaces are ignored.
        secret: 20 bytes.
        now: Aware UTC time.
    """
    given = "".join(unverified_code.split()).encode("utf-8", "surrogatepass")
    current = int(now.timestamp()) // _STEP_S
    generator = HOTP(secret, _DIGITS, SHA1())  # noqa: S303 - see above
    found = None
    # Timing oracle: all steps are compared, so that the time does not reveal which one matched.
    for step in range(max(0, current - _STEPS_AROUND), current + _STEPS_AROUND + 1):
        if hmac.compare_digest(generator.generate(step), given):
            found = step
    return found


def is_code(text: str) -> bool:
    """Return whether a text has the form of a code, which no recovery code has."""
    given = "".join(text.split())
    return len(given) == _DIGITS and given.isascii() and given.isdigit()


def secret_text(secret: bytes) -> str:
    """Return a secret in the form to type into an app: Base32 (RFC 4648), in groups of four."""
    encoded = base64.b32encode(secret).decode()
    return " ".join(encoded[at : at + 4] for at in range(0, len(encoded), 4))


def parse_secret_text(text: str) -> bytes:
    """Parse the output of `secret_text`; raises ValueError."""
    try:
        secret = base64.b32decode("".join(text.split()).upper())
    except binascii.Error as error:
        raise ValueError("not Base32") from error
    if len(secret) != SECRET_BYTES:
        raise ValueError("not 20 bytes")
    return secret


def app_uri(secret: bytes, *, operator: str, host: str) -> str:
    """Return the URI for the QR code: operator, Server and secret."""
    label, issuer = quote(f"lyftdata {host}:{operator}", safe=""), quote(f"lyftdata {host}", safe="")
    text = base64.b32encode(secret).decode()
    return f"otpauth://totp/{label}?secret={text}&issuer={issuer}&algorithm=SHA1&digits={_DIGITS}&period={_STEP_S}"


def seal_totp_secret(secret: bytes, *, factor_id: str, key: bytes, nonce: bytes) -> bytes:
    """Return the encrypted secret. Substitution: it is bound to the ID of one factor."""
    return seal(secret, key=key, nonce=nonce, context=f"totp {factor_id}")


def unseal_totp_secret(sealed: bytes, *, factor_id: str, key: bytes) -> bytes:
    """Return the decrypted secret; raises UnsealError."""
    return unseal(sealed, key=key, context=f"totp {factor_id}")
