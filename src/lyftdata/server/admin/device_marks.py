"""
Device marks: proof of an earlier sign-in on a device, so that other people's guesses do not lock out its operator.

A mark says "this operator has signed in on this device". It gives no access: it only selects the failure counter for
the next sign-in attempt (`core.lockout`), with the usual limit of five failures. It is keyed by the operator's
password hash, so that every new password, no matter who sets it, invalidates all marks; and by a key that is not in
the database, so that a mark cannot be forged.

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
    Issues and checks device marks.

    Args:
        key: 32 bytes for this purpose alone, the same at every Server of a deployment.
        clock: Aware UTC time.
        random_bytes: Generates device IDs.
    """

    def __init__(self, *, key: bytes, clock: Clock, random_bytes: RandomBytes) -> None:
        self._key = key
        self._clock = clock
        self._random_bytes = random_bytes

    def issue(self, operator: OperatorRecord, *, device: str | None) -> Secret:
        """
        Issue a mark for 90 days.

        Args:
            operator: As stored, with the current password hash.
            device: The ID in the device's existing mark, so that it keeps its counter.
        """
        device = device or random_id(self._random_bytes)
        expires = str(int((self._clock() + MARK_LIFE).timestamp()))
        return Secret(f"{_PREFIX}{device}.{expires}.{self._mac(operator, device, expires)}")

    def find_device(self, unverified_mark: str, operator: OperatorRecord | None) -> str | None:
        """Return the device ID if the mark is this operator's, not expired, and made under their current password."""
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
        # Parsed only now that the mark is known to be genuine.
        return device if self._clock().timestamp() < int(expires) else None

    def name_tag(self, operator: str) -> str:
        """Return a tag of an operator for a cookie name: several operators may share a browser."""
        return hmac.digest(self._key, b"name\0" + _encoded(operator), sha256)[:6].hex()

    def _mac(self, operator: OperatorRecord, device: str, expires: str) -> str:
        # Only the last part could contain a NUL, so no two marks have the same input.
        text = f"mark\0{device}\0{expires}\0{operator.password_hash}\0{operator.name}"
        digest = hmac.digest(self._key, _encoded(text), sha256)
        return base64url(digest)


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
