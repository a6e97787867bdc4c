"""
Rules that API keys and enrollment keys share: how long a key lives, and what a rotation does to its older generations.

A key has a name and one or more generations. A rotation adds the next generation and sets an end for the earlier ones, which keep
working until then. A second rotation in the meantime never extends that. `end_generations` serves both uses: at a rotation, and to
end older generations early.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Generic, NamedTuple, TypeVar

import msgspec

from lyftdata.core.errors import InvalidInputError, NotFoundError
from lyftdata.core.records import ApiKeyRecord, EnrollmentKeyRecord

Key = TypeVar("Key", ApiKeyRecord, EnrollmentKeyRecord)

_MAX_LIFE = timedelta(days=3650)
MAX_GRACE = timedelta(days=90)
"""How long an older generation may keep working after a rotation."""


def check_life(expires_in: timedelta | None) -> None:
    """
    Check the lifetime of a new key; None for a key that does not expire.

    Raises:
        InvalidInputError: Not more than 0 seconds, or more than 3650 days.
    """
    if expires_in is not None and not timedelta(0) < expires_in <= _MAX_LIFE:
        raise InvalidInputError("expires_in_s", "must be more than 0 seconds and at most 3650 days")


def end_of_previous(
    *, now: datetime, grace: timedelta | None = None, ends_at: datetime | None = None
) -> datetime:
    """
    Return when the previous generations end.

    Args:
        now: The time of the rotation; aware UTC.
        grace: How long they keep working.
        ends_at: When they stop working; aware. If neither is given, they end at once.

    Raises:
        InvalidInputError: Both are given, the grace is negative, the time is not in the future, or either is more than 90 days
            ahead.
    """
    if grace is not None and ends_at is not None:
        raise InvalidInputError("ends_at", "cannot be combined with grace_s: give one of them")
    if ends_at is not None:
        if not now < ends_at <= now + MAX_GRACE:
            raise InvalidInputError("ends_at", "must be in the future, and at most 90 days from now")
        return ends_at
    grace = timedelta(0) if grace is None else grace
    if not timedelta(0) <= grace <= MAX_GRACE:
        raise InvalidInputError("grace_s", "must be from 0 to 7776000 seconds (90 days)")
    return now + grace


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


class EndedGenerations(NamedTuple, Generic[Key]):
    """Older generations of a key, with the end times set by `end_generations`."""

    changed: list[Key]
    unchanged: list[Key]
    """Those that have an earlier end already, or were revoked."""


def end_generations(
    older: Iterable[Key], *, rotated_at: datetime, ends_at: datetime
) -> EndedGenerations[Key]:
    """
    Set the end of older generations of a key; none ends later than before.

    Args:
        older: The generations to end, without the newest.
        rotated_at: When the next generation was issued; those that were rotated earlier keep their own time.
        ends_at: When they stop working. For "now", the time of the call.
    """
    ended = EndedGenerations[Key]([], [])
    for record in older:
        after = _end(record, rotated_at=rotated_at, ends_at=ends_at)
        (ended.unchanged if after == record else ended.changed).append(after)
    return ended


def _end(older: Key, *, rotated_at: datetime, ends_at: datetime) -> Key:
    if older.revoked_at is not None:
        return older
    ends_earlier = older.expires_at is not None and older.expires_at <= ends_at
    return msgspec.structs.replace(
        older,
        expires_at=older.expires_at if ends_earlier else ends_at,
        rotated_at=older.rotated_at or rotated_at,
    )


def seconds_until(ends_at: datetime | None, *, now: datetime) -> int | None:
    """Return the whole seconds until a generation ends, at least 0; None if it has no end."""
    return None if ends_at is None else max(0, int((ends_at - now).total_seconds()))
