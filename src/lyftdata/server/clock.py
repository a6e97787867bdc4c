"""The Server's sources of time and randomness, which tests replace."""

import os
from collections.abc import Callable
from datetime import UTC, datetime

from lyftdata.core.encoding import base64url

Clock = Callable[[], datetime]
"""Gives the time now, aware UTC."""

RandomBytes = Callable[[int], bytes]
"""Gives that many unpredictable bytes."""


def utc_now() -> datetime:
    """Return the time now, aware UTC."""
    return datetime.now(UTC)


# What `secrets.token_bytes` asks in the end, by way of a generator object.
random_bytes: RandomBytes = os.urandom


def random_id(source: RandomBytes) -> str:
    """Return 22 characters of base64url that cannot be guessed and never repeat (128 bits)."""
    return base64url(source(16))
