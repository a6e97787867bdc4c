"""
Alerts that are snoozed: which alert a decision is about, and when it has got worse than it was then.

An alert is about members: Workers, callers, networks. While there is none that was not there when it was snoozed, it is the same
matter, or less of it. Hiding: a guesser at another host must not profit from the decision about the one that was known.
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
        alert: Names it: `alert_digest`.
        kind: Its kind.
        title: What it said then.
        until: It comes back then.
        at: When it was decided.
        by: Who decided, as the audit log names them.
        note: Why.
        size: About how many it was.
        members: About whom, each as `describe_members` writes it; empty if there were too many to keep, and their number alone counts.
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
    """Return what names an alert: 64 hexadecimal digits, of which people are shown the first 12. The key may be any text."""
    return hashlib.sha256(f"{kind}\0{key}".encode()).hexdigest()


def describe_members(about: Collection[str]) -> str:
    """Return whom an alert is about, as it is stored: a part of a digest of each, or nothing if there are too many."""
    if len(about) > _MAX_MEMBERS:
        return ""
    return " ".join(sorted(map(_digest, set(about))))


def is_worse(record: SnoozedAlertRecord, about: Collection[str]) -> bool:
    """Return whether an alert is about more now, or about others, than when it was snoozed."""
    if len(set(about)) > record.size:
        return True
    known = set(record.members.split())
    return bool(known) and not known.issuperset(map(_digest, about))


def _digest(member: str) -> str:
    return hashlib.sha256(member.encode()).hexdigest()[:_MEMBER_LENGTH]
