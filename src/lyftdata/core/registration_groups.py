"""
Finds clients that register again at each start instead of keeping their registration.

Entries that came from one network under one name, or under names that differ only in generated parts, form a group. An entry is
*replaced* if a later one of its group followed it and it will probably not be used again:

    superseded     another Worker has its name: it gets no token, whatever it has
    came and went  registered by a third-party client, used for a day at most, and not any more

A group counts only if several of its entries were replaced: one or two are hosts that were reinstalled.
"""

import itertools
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta

import msgspec

from lyftdata.core.networks import network_of_host
from lyftdata.core.records import Strategy, WorkerRecord

MIN_REPLACED = 5
_USED_FOR_AT_MOST = timedelta(days=1)
_UNUSED_FOR = timedelta(hours=2)

_SEPARATORS = re.compile(r"([-_.:@ ]+)")
_MIN_AFTER_GENERATED = 4
_MIN_CHANGES = 3
_MIN_DIGITS = 8


class RegistrationGroup(msgspec.Struct, frozen=True, kw_only=True):
    """
    Registrations of one client that were replaced by later ones.

    Attributes:
        name: Their name, with `*` for the generated parts.
        address: The address that the latest came from.
        replaced: The replaced entries, the latest first.
        latest_at: When the latest entry was made.
    """

    name: str
    address: str
    replaced: Sequence[WorkerRecord]
    latest_at: datetime


def name_family(name: str) -> str:
    """Return a name with `*` for each generated part: `etl-*` for `etl-7d9f8b6c5d-x2x9z`."""
    pieces = _SEPARATORS.split(name)
    parts = pieces[::2]
    found: list[str] = []
    for number, part in enumerate(parts):
        after_generated = bool(found) and found[-1] == "*" and len(part) >= _MIN_AFTER_GENERATED
        if not (_is_generated(part) or after_generated):
            found += [pieces[2 * number - 1], part] if number else [part]
        elif not found or found[-1] != "*":
            found += [pieces[2 * number - 1], "*"] if number else ["*"]
    return "".join(found)


def _is_generated(part: str) -> bool:
    """Return whether a part of a name is random text or a timestamp, rather than a word or a serial number."""
    if part.isdigit():
        return len(part) >= _MIN_DIGITS
    if not (part.isascii() and part.isalnum()):
        return False
    changes = sum(one.isdigit() != other.isdigit() for one, other in itertools.pairwise(part))
    is_hex = len(part) >= _MIN_DIGITS and changes > 0 and not set(part.lower()) - set("0123456789abcdef")
    return changes >= _MIN_CHANGES or is_hex


def may_be_replaced(worker: WorkerRecord) -> bool:
    """Return whether an entry could be a replaced one, judged without its last use: a fast filter for large fleets."""
    is_candidate = worker.superseded_by is not None or worker.registration_digest is not None
    # An operator decides about an entry that waits for approval.
    is_decided = worker.enabled and worker.approval is None
    return is_candidate and is_decided and worker.strategy is Strategy.AUTO_ENROLLMENT


def find_groups(
    workers: Iterable[WorkerRecord], *, last_used: Mapping[str, datetime], now: datetime
) -> list[RegistrationGroup]:
    """
    Return the groups with several replaced entries, the largest first.

    Args:
        workers: The entries; those that cannot be replaced are ignored (`may_be_replaced`).
        last_used: When each was last connected or got a token, by ID; without those that never were.
        now: Aware UTC time.
    """
    members: dict[tuple[str, str], list[WorkerRecord]] = defaultdict(list)
    for worker in workers:
        if may_be_replaced(worker):
            key = (network_of_host(worker.enrolled_from or ""), name_family(worker.name))
            members[key].append(worker)
    found = [
        _group(name, sorted(entries, key=_age, reverse=True), last_used, now)
        for (_, name), entries in members.items()
        if len(entries) >= MIN_REPLACED
    ]
    repeated = [group for group in found if len(group.replaced) >= MIN_REPLACED]
    return sorted(repeated, key=lambda group: (-len(group.replaced), group.name, group.address))


def _group(
    name: str, entries: Sequence[WorkerRecord], last_used: Mapping[str, datetime], now: datetime
) -> RegistrationGroup:
    newest = entries[0]
    replaced = [
        worker
        for worker in entries
        if worker.superseded_by is not None
        or (worker is not newest and _came_and_went(worker, last_used.get(worker.id), now))
    ]
    return RegistrationGroup(
        name=name,
        address=newest.enrolled_from or "",
        replaced=replaced,
        latest_at=newest.created_at,
    )


def _came_and_went(worker: WorkerRecord, used_at: datetime | None, now: datetime) -> bool:
    last = used_at or worker.created_at
    return last - worker.created_at <= _USED_FOR_AT_MOST and now - last >= _UNUSED_FOR


def _age(worker: WorkerRecord) -> tuple[datetime, str]:
    return worker.created_at, worker.id
