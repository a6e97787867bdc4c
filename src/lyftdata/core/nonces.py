"""
Makes and checks nonces, which show the Server when something was signed, whatever the signer's clock says.

    nonce = make_nonce(key, issued_at=now, salt=random_bytes(9), bound_to="w-1 …")
    1772366400.mZ4…            its time in seconds since 1970, then the salt and a MAC over time, salt and `bound_to`

The signer includes the nonce in what it signs, and may sign for the nonce's time instead of its own clock's. The Server stores
nothing: it computes the MAC again.

Attacks stopped: pre-dated or delayed signatures, whose time only the signer's clock would vouch for; forged nonces, by the MAC; use
of a nonce for another Worker or purpose, by `bound_to`; and enumeration, by the salt: without it an unproven caller could tell from
a changed nonce whether a Worker exists, and whether it was just disabled.
"""

import hmac
import re
from datetime import UTC, datetime
from hashlib import sha256

from lyftdata.core.encoding import base64url, decode_base64url

LIFE_S = 120
# How far the clocks of the Servers of one deployment may differ.
_AHEAD_S = 30
_SALT_BYTES = 9
_MAC_BYTES = 18
# 12 characters of salt and 24 of MAC.
_FORM = re.compile(r"([0-9]{1,11})\.([A-Za-z0-9_-]{36})")


def make_nonce(key: bytes, *, issued_at: datetime, salt: bytes, bound_to: str) -> str:
    """
    Make a nonce.

    Args:
        key: 32 bytes that only the Servers of one deployment have.
        issued_at: Aware UTC time.
        salt: 9 random bytes.
        bound_to: What must be the same when the nonce is checked, for example a Worker and its epoch.
    """
    seconds = int(issued_at.timestamp())
    mac = _mac(key, seconds, salt, bound_to)
    return f"{seconds}.{base64url(salt + mac)}"


def is_good_nonce(unverified: str, key: bytes, *, now: datetime, bound_to: str) -> bool:
    """Return whether a nonce was made with this key and `bound_to` within the last two minutes."""
    found = _FORM.fullmatch(unverified)
    if found is None:
        return False
    seconds = int(found[1])
    raw = decode_base64url(found[2])
    salt, mac = raw[:_SALT_BYTES], raw[_SALT_BYTES:]
    # Forgery by timing: compared in constant time, so that the MAC cannot be found byte by byte.
    is_authentic = hmac.compare_digest(mac, _mac(key, seconds, salt, bound_to))
    return is_authentic and -_AHEAD_S <= now.timestamp() - seconds <= LIFE_S


def unsafe_nonce_time(unverified: str) -> datetime | None:
    """
    Return the time that a nonce names; None if it is not one.

    Unverified, for the signer only: the Server rejects a nonce whose time was made up.
    """
    found = _FORM.fullmatch(unverified)
    return None if found is None else datetime.fromtimestamp(int(found[1]), UTC)


def _mac(key: bytes, seconds: int, salt: bytes, bound_to: str) -> bytes:
    signed = b"%d.%b.%b" % (seconds, salt, bound_to.encode("utf-8", "surrogateescape"))
    return hmac.digest(key, signed, sha256)[:_MAC_BYTES]
