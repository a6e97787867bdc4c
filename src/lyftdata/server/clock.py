"""The Server's sources of time and randomness, which tests replace."""

import os
from collections.abc import Callable
from datetime import UTC, datetime

from lyftdata.core.encoding import base64url

Clock = Callable[[], datetime]
"""Returns the current time, aware UTC."""

RandomBytes = Callable[[int], bytes]
"""Returns that many unpredictable bytes."""


def utc_now() -> datetime:
    """Return the current time, aware UTC."""
    return datetime.now(UTC)


# What `secrets.token_bytes` ends up calling, without its generator object.
random_bytes: RandomBytes = os.urandom


def random_id(source: RandomBytes) -> str:
    """Return an unguessable ID that never repeats: 22 characters of base64url (128 bits)."""
    return base64url(source(16))
