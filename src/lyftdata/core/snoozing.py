"""
Snoozed alerts: which alert was snoozed, and whether it has got worse since.

An alert is about members: Workers, callers, networks. As long as it has no member that it did not have when it was snoozed, it is no
worse. Hiding: an attacker on another host must not benefit from a snooze that was meant for a known one.
"""

import hashlib
from collections.abc import Collection
from datetime import datetime, timedelta

import msgspec

from lyftdata.core.structs import prepare_structs

MAX_SNOOZED_FOR = timedelta(days=7)
MAX_SNOOZED = 200
"""At once; an operator who has so many needs other alerts."""
ID_LENGTH = 12
_MAX_MEMBERS = 1_000
_MEMBER_LENGTH = 16


class SnoozedAlertRecord(msgspec.Struct, frozen=True, kw_only=True):
    """
    An operator's decision to put off an alert.

    Attributes:
        alert: The alert, by its `alert_digest`.
        kind: Its kind.
        title: Its title at that time.
        until: When it comes back.
        at: When it was snoozed.
        by: The operator, as the audit log names them.
        note: The operator's reason.
        size: The number of its members at that time.
        members: Its members, from `describe_members`; empty if there were too many to store, so only their number counts.
    """

    alert: str
    kind: str
    title: str
    until: datetime
    at: datetime
    by: str
    note: str
    size: int
    members: str


prepare_structs(SnoozedAlertRecord)


def alert_digest(kind: str, key: str) -> str:
    """Return the identifier of an alert: 64 hexadecimal digits, of which operators see the first 12. The key may be any text."""
    return hashlib.sha256(f"{kind}\0{key}".encode()).hexdigest()


def describe_members(about: Collection[str]) -> str:
    """Return an alert's members as they are stored: a truncated digest of each, or an empty text if there are too many."""
    if len(about) > _MAX_MEMBERS:
        return ""
    return " ".join(sorted(map(_digest, set(about))))


def is_worse(record: SnoozedAlertRecord, about: Collection[str]) -> bool:
    """Return whether an alert has more members than when it was snoozed, or a member that it did not have."""
    if len(set(about)) > record.size:
        return True
    known = set(record.members.split())
    return bool(known) and not known.issuperset(map(_digest, about))


def _digest(member: str) -> str:
    return hashlib.sha256(member.encode()).hexdigest()[:_MEMBER_LENGTH]
