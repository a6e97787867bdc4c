"""The note and the end time of a Worker's disabling; the Worker sees neither."""

from datetime import datetime
from typing import TypedDict

import msgspec

from lyftdata.core.errors import InvalidInputError
from lyftdata.core.known_secrets import KnownSecrets
from lyftdata.core.notes import read_note
from lyftdata.core.records import WorkerRecord
from lyftdata.core.times import parse_moment

MAX_NOTE = 200


class Disabling(msgspec.Struct, frozen=True):
    """
    The new note and end of a Worker's disabling; None for one that is not given and stays as it is.

    An empty note means no note, and an empty `until` no end: the Worker stays disabled until an operator enables it.
    """

    note: str | None = None
    until: str | None = None

    @property
    def is_given(self) -> bool:
        """Return whether either is given."""
        return self.note is not None or self.until is not None


NOTHING_MORE = Disabling()


class DisabledFields(TypedDict, total=False):
    """The fields of a Worker's entry to set: the note and the end of disabling."""

    disabled_note: str | None
    disabled_until: datetime | None


def read_disabling(disabling: Disabling, *, known_secrets: KnownSecrets, now: datetime) -> DisabledFields:
    """Return the fields of an entry to set, leaving out those that are not given; raises InvalidInputError."""
    fields: DisabledFields = {}
    if disabling.note is not None:
        note = read_note("disabled_note", disabling.note, max_length=MAX_NOTE, known_secrets=known_secrets)
        fields["disabled_note"] = note or None
    if disabling.until is not None:
        fields["disabled_until"] = parse_until(disabling.until, now=now)
    return fields


def later_end(one: datetime | None, other: datetime | None) -> datetime | None:
    """Return the later of two end times of disabling; None, which means no end, counts as the latest."""
    return None if one is None or other is None else max(one, other)


def parse_until(text: str, *, now: datetime) -> datetime | None:
    """
    Parse the time at which a disabled Worker is enabled again: a time, or a duration from now, such as `2h`; None if empty.

    Raises:
        InvalidInputError: Neither, or not in the future.
    """
    if not text.strip():
        return None
    try:
        until = parse_moment(text, now=now, ahead=True)
    except ValueError as error:
        raise InvalidInputError(
            "disabled_until",
            "must be a time such as 2026-03-01T12:00Z, or how long from now, such as 2h or 3d",
        ) from error
    if until <= now:
        raise InvalidInputError("disabled_until", "must be in the future")
    return until


def is_due(worker: WorkerRecord, *, now: datetime) -> bool:
    """Return whether it is time to enable a disabled Worker."""
    return not worker.enabled and worker.disabled_until is not None and worker.disabled_until <= now
