"""Decides until when something is put off: one rule for refusals that are ignored and alerts that are snoozed."""

from datetime import datetime, timedelta

import msgspec

from lyftdata.core.actor import Actor
from lyftdata.core.errors import InvalidInputError
from lyftdata.core.known_secrets import KnownSecrets
from lyftdata.core.notes import read_note

MAX_NOTE = 200


class PutOff(msgspec.Struct, frozen=True, kw_only=True):
    """A decision to put something off; `by` is the operator, even if an API token acts for them."""

    at: datetime
    until: datetime
    by: str
    note: str

    @property
    def details(self) -> dict[str, str]:
        """Return its details for the audit log."""
        return {"until": f"{self.until:%Y-%m-%dT%H:%M:%SZ}"} | ({"note": self.note} if self.note else {})


def put_off(
    for_: timedelta,
    note: str,
    *,
    at_most: timedelta,
    actor: Actor,
    now: datetime,
    known_secrets: KnownSecrets,
) -> PutOff:
    """
    Put something off for a limited time: nothing stays hidden because someone forgot about it.

    Args:
        for_: For how long.
        note: Why, for other operators; may be empty.
        at_most: The longest time.
        actor: Who decides.
        now: Aware UTC time.
        known_secrets: What no note may hold.

    Raises:
        InvalidInputError: A time or a note that is too long, or a credential in the note.
    """
    why = read_note("note", note, max_length=MAX_NOTE, known_secrets=known_secrets)
    if not timedelta() < for_ <= at_most:
        raise InvalidInputError("for", f"must be at most {at_most.days}d")
    return PutOff(at=now, until=now + for_, by=f"operator:{actor.operator}", note=why)
