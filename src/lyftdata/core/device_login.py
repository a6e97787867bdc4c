"""
Sign-in by device code (RFC 8628): a command line shows a short code, and an operator confirms it in a browser.

    pending --approved by an operator--> approved --redeemed once--> (gone)
    pending --denied------------------->  denied  --asked once-----> (gone)
    any ------ten minutes-------------> (gone)

The device code is a secret of 256 bits that the command line alone has. The user code is short, so that a person can type it, and
worth something only to an operator who is signed in, types it within its ten minutes, and confirms.
"""

from datetime import datetime, timedelta
from enum import StrEnum

import msgspec

from lyftdata.core.structs import prepare_structs

LIFE = timedelta(minutes=10)
INTERVAL_S = 5
# RFC 8628, section 3.5: a client that asks too soon must wait for five seconds more from then on.
SLOW_DOWN_S = 5
MAX_PENDING = 1_000
MAX_HOST_LENGTH = 64

# RFC 8628, section 6.1: without vowels, so that it makes no words, and without characters that look alike. Eight of twenty are 34 bits.
_ALPHABET = "BCDFGHJKLMNPQRSTVWXZ"
_LENGTH = 8
# The largest multiple of the alphabet's length that a byte can be below: a remainder would make some characters likelier.
_UNBIASED_BELOW = 256 - 256 % len(_ALPHABET)


class DeviceLoginState(StrEnum):
    """How a sign-in by device code stands."""

    PENDING = "pending"
    APPROVED = "approved"
    DENIED = "denied"


class DeviceLoginRecord(msgspec.Struct, frozen=True, kw_only=True):
    """
    A sign-in by device code as the Server keeps it: no code of it can be read from this.

    Args:
        device_digest: SHA-256 of the device code.
        user_digest: The user code under a key of the Servers, as hexadecimal text.
        state: How it stands.
        address: From where it was asked for.
        host: What the command line calls its host: untrusted text.
        user_agent: What it calls itself: untrusted text.
        interval_s: How long it must wait between two questions.
        asked_at: When it asked last.
        session_id: The browser's session in which it was approved; the sign-in is that operator's.
    """

    device_digest: bytes
    user_digest: str
    state: DeviceLoginState
    address: str
    host: str
    user_agent: str
    created_at: datetime
    expires_at: datetime
    interval_s: int = INTERVAL_S
    asked_at: datetime | None = None
    session_id: str | None = None


prepare_structs(DeviceLoginRecord)


def make_user_code(source: bytes) -> str | None:
    """Return the user code that random bytes give, as `WDJB-MJHT`; None if too few of them can be used without bias."""
    usable = [_ALPHABET[byte % len(_ALPHABET)] for byte in source if byte < _UNBIASED_BELOW][:_LENGTH]
    return None if len(usable) < _LENGTH else format_user_code("".join(usable))


def read_user_code(text: str) -> str | None:
    """Return a user code as typed in its one form: upper case, with a dash in the middle; None if it cannot be one."""
    code = "".join(character for character in text.upper() if character.isalnum())
    is_one = len(code) == _LENGTH and all(character in _ALPHABET for character in code)
    return format_user_code(code) if is_one else None


def format_user_code(code: str) -> str:
    """Return eight characters as they are shown."""
    return f"{code[:4]}-{code[4:]}"
