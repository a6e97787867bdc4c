"""
Device marks: proof of an earlier sign-in on a device, so that guesses of others do not lock out its operator.

A mark says "this operator has signed in on this device". It opens nothing: it only selects the count of failed
sign-ins that the next attempt is held against (`server.lockout`), five failures as everywhere. It is keyed by the
operator's password hash, so that every new password, no matter who sets it, ends all marks; and by a key that the database
does not hold, so that a mark cannot be forged.

    lyftdata_device_ID.EXPIRES.MAC
"""

import hmac
from datetime import timedelta
from hashlib import sha256

from lyftdata.core.encoding import base64url
from lyftdata.core.records import OperatorRecord
from lyftdata.core.secret import Secret
from lyftdata.server.clock import Clock, RandomBytes, random_id

MARK_LIFE = timedelta(days=90)
MAX_MARK_LENGTH = 128
_PREFIX = "lyftdata_device_"


class DeviceMarks:
    """
    Makes and checks device marks.

    Args:
        key: 32 bytes for this purpose alone, the same at every Server of a deployment.
        clock: Aware UTC time.
        random_bytes: Makes IDs of devices.
    """

    def __init__(self, *, key: bytes, clock: Clock, random_bytes: RandomBytes) -> None:
        self._key = key
        self._clock = clock
        self._random_bytes = random_bytes

    def issue(self, operator: OperatorRecord, *, device: str | None) -> Secret:
        """
        Make a mark for 90 days.

        Args:
            operator: As stored, with the password hash in force.
            device: The ID of the mark that the device has already, so that it goes on with the same count.
        """
        device = device or random_id(self._random_bytes)
        expires = str(int((self._clock() + MARK_LIFE).timestamp()))
        return Secret(f"{_PREFIX}{device}.{expires}.{self._mac(operator, device, expires)}")

    def find_device(self, unverified_mark: str, operator: OperatorRecord | None) -> str | None:
        """Return the ID of the device if the mark is one of this operator, in date and under their present password."""
        is_text = unverified_mark.isascii() and unverified_mark.isprintable()
        if operator is None or len(unverified_mark) > MAX_MARK_LENGTH or not is_text:
            return None
        if not unverified_mark.startswith(_PREFIX):
            return None
        parts = unverified_mark.removeprefix(_PREFIX).split(".")
        if len(parts) != 3:  # noqa: PLR2004 - device, end, code
            return None
        device, expires, mac = parts
        if not hmac.compare_digest(mac, self._mac(operator, device, expires)):
            return None
        # Only now: what is parsed was made here.
        return device if self._clock().timestamp() < int(expires) else None

    def name_tag(self, operator: str) -> str:
        """Return a tag of an operator for the name of a cookie: several operators may share a browser."""
        return hmac.digest(self._key, b"name\0" + _encoded(operator), sha256)[:6].hex()

    def _mac(self, operator: OperatorRecord, device: str, expires: str) -> str:
        # No part holds a NUL but perhaps the last, so no two marks give the same text.
        text = f"mark\0{device}\0{expires}\0{operator.password_hash}\0{operator.name}"
        digest = hmac.digest(self._key, _encoded(text), sha256)
        return base64url(digest)


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
