"""
Sign-in by device code (RFC 8628): a command line shows a short code, and an operator confirms it in a browser.

    pending --approved by an operator--> approved --redeemed once--> (gone)
    pending --denied------------------->  denied  --asked once-----> (gone)
    any ------ten minutes-------------> (gone)

The device code is a 256-bit secret that only the command line has. The user code is short, so that a person can type it; it is of
use only to a signed-in operator who types it within its ten minutes and confirms.
"""

from datetime import datetime, timedelta
from enum import StrEnum

import msgspec

from lyftdata.core.structs import prepare_structs

LIFE = timedelta(minutes=10)
INTERVAL_S = 5
# RFC 8628, section 3.5: a client that polls too soon must wait five seconds longer from then on.
SLOW_DOWN_S = 5
MAX_PENDING = 1_000
MAX_HOST_LENGTH = 64

# RFC 8628, section 6.1: without vowels, so that it makes no words, and without characters that look alike. Eight of twenty are 34 bits.
_ALPHABET = "BCDFGHJKLMNPQRSTVWXZ"
_LENGTH = 8
# The largest multiple of the alphabet's length that a byte can be below: a remainder would make some characters likelier.
_UNBIASED_BELOW = 256 - 256 % len(_ALPHABET)


class DeviceLoginState(StrEnum):
    """The state of a sign-in by device code."""

    PENDING = "pending"
    APPROVED = "approved"
    DENIED = "denied"


class DeviceLoginRecord(msgspec.Struct, frozen=True, kw_only=True):
    """
    A sign-in by device code as the Server stores it: neither of its codes can be read from this.

    Args:
        device_digest: SHA-256 of the device code.
        user_digest: Keyed hash of the user code, in hexadecimal; the Servers share the key.
        state: The state of the sign-in.
        address: The address that asked for it.
        host: The host name that the command line reports: untrusted text.
        user_agent: The user agent that it reports: untrusted text.
        interval_s: How long it must wait between two polls.
        asked_at: When it last polled.
        session_id: The browser session that approved it; the sign-in is that operator's.
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
    """Return a user code made from random bytes, such as `WDJB-MJHT`; None if too few of them can be used without bias."""
    usable = [_ALPHABET[byte % len(_ALPHABET)] for byte in source if byte < _UNBIASED_BELOW][:_LENGTH]
    return None if len(usable) < _LENGTH else format_user_code("".join(usable))


def read_user_code(text: str) -> str | None:
    """Normalize a user code as typed: upper case, with a dash in the middle; None if it cannot be one."""
    code = "".join(character for character in text.upper() if character.isalnum())
    is_one = len(code) == _LENGTH and all(character in _ALPHABET for character in code)
    return format_user_code(code) if is_one else None


def format_user_code(code: str) -> str:
    """Return a code of eight characters in the form that is shown, `WDJB-MJHT`."""
    return f"{code[:4]}-{code[4:]}"
