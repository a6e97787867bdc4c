"""
Rules that API keys and enrollment keys share: how long a key lives, and what a rotation does to its older generations.

A key has a name and one or more generations. Rotating adds the next one, and ends those before it after a grace period.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TypeVar

import msgspec

from lyftdata.core.errors import InvalidInputError, NotFoundError
from lyftdata.core.records import ApiKeyRecord, EnrollmentKeyRecord

Key = TypeVar("Key", ApiKeyRecord, EnrollmentKeyRecord)

_MAX_LIFE = timedelta(days=3650)
_MAX_GRACE = timedelta(days=90)


def check_life(expires_in: timedelta | None) -> None:
    """
    Refuse a life that no key may have; None is a key that does not expire.

    Raises:
        InvalidInputError: Not more than 0 seconds, or more than 3650 days.
    """
    if expires_in is not None and not timedelta(0) < expires_in <= _MAX_LIFE:
        raise InvalidInputError("expires_in_s", "must be more than 0 seconds and at most 3650 days")


def check_grace(grace: timedelta) -> None:
    """
    Refuse a grace period that no rotation may have.

    Raises:
        InvalidInputError: Negative, or longer than 90 days.
    """
    if not timedelta(0) <= grace <= _MAX_GRACE:
        raise InvalidInputError("grace_s", "must be from 0 to 7776000 seconds (90 days)")


def newest_generation(generations: Sequence[Key], *, kind: str, name: str) -> Key:
    """
    Return the newest generation of a key.

    Args:
        generations: Every generation of it; empty if there is no such key.
        kind: `api_key` or `enrollment_key`, for the error.
        name: The key's name, for the error.

    Raises:
        NotFoundError: There is no such key.
    """
    if not generations:
        raise NotFoundError(kind, name)
    return max(generations, key=lambda record: record.generation)


def end_after_rotation(older: Key, *, rotated_at: datetime, ends_at: datetime) -> Key:
    """Return an older generation as a rotation leaves it: it works until `ends_at`, unless it ends earlier or was revoked."""
    if older.revoked_at is not None:
        return older
    ends_earlier = older.expires_at is not None and older.expires_at <= ends_at
    return msgspec.structs.replace(
        older,
        expires_at=older.expires_at if ends_earlier else ends_at,
        rotated_at=older.rotated_at or rotated_at,
    )
