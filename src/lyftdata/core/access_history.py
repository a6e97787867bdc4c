"""
Reconstructs which Workers had access at an earlier time, and by which credential, from the present entries and keys and the audit log.

It starts from the present state and undoes later events, the latest first; so only events after that time are needed, however
long the log is. Events before it are read only for Workers that were deleted since, and for which Workers a key was restricted to.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from enum import StrEnum

import msgspec

from lyftdata.core.incidents import CUT_OFF
from lyftdata.core.records import (
    ApiKeyRecord,
    Approval,
    AuditEvent,
    EnrollmentKeyRecord,
    Strategy,
    WorkerRecord,
)

_BEGINS = frozenset({"worker.created", "worker.enrolled"})
_ENDS = frozenset({"worker.deleted", "worker.left", "worker.replaced_removed", "worker.retired"})
ACTIONS = (
    *sorted(_BEGINS | _ENDS),
    "worker.enabled",
    "worker.disabled",
    "worker.approved",
    "worker.superseded",
    "worker.renamed",
    "worker.key_rotated",
    "api_key.issued",
    "api_key.allowed",
    CUT_OFF,
)
"""The audit events that are read."""
_BY_CUT_OFF = {"disable": "worker.disabled", "delete": "worker.deleted"}


class Access(StrEnum):
    """Whether a Worker had access."""

    YES = "yes"
    DISABLED = "disabled"
    SUPERSEDED = "superseded"
    NOT_APPROVED = "not_approved"
    NO_API_KEY = "no_api_key"
    UNKNOWN = "unknown"
    """It was deleted since, and the events that would tell were pruned."""


class WorkerAccess(msgspec.Struct, frozen=True, kw_only=True):
    """A Worker as it was; `by` names the API keys, or the thumbprint of the identity key, that were valid."""

    worker_id: str
    name: str
    strategy: Strategy
    access: Access
    by: tuple[str, ...] = ()


class _Entry(msgspec.Struct):
    """The known state of an entry; None where it is not known."""

    name: str
    strategy: Strategy
    enabled: bool | None
    superseded: bool | None
    thumbprint: str | None
    approved: bool | None


class _Followed(msgspec.Struct):
    """What earlier events say about an entry."""

    enabled: bool = True
    superseded: bool = False
    approved: bool = True


def workers_at(
    at: datetime,
    *,
    workers: Iterable[WorkerRecord],
    api_keys: Iterable[ApiKeyRecord],
    events: Sequence[AuditEvent],
) -> list[WorkerAccess]:
    """
    Return every Worker that had an entry, by ID.

    Args:
        at: Aware UTC time, not before the oldest event that is kept.
        workers: The present entries.
        api_keys: The present API keys, including revoked and expired ones.
        events: Events whose action is in `ACTIONS`, the oldest first.
    """
    singly = [one for event in events for one in _split(event)]
    before = [event for event in singly if event.at <= at]
    after = [event for event in singly if event.at > at]
    entries = {worker.id: _entry_of(worker) for worker in workers}
    for event in reversed(after):
        _undo(entries, event)
    _complete(entries, before)
    good = [key for key in api_keys if _was_good(key, at)]
    scopes = _scopes(good, before, after)
    return [_access(worker_id, entries[worker_id], good, scopes) for worker_id in sorted(entries)]


def _split(event: AuditEvent) -> Iterator[AuditEvent]:
    """Yield the event; a cut-off, which is one event for many Workers, is split into one event for each Worker."""
    if event.action != CUT_OFF:
        yield event
        return
    action = _BY_CUT_OFF.get(event.details.get("action", ""))
    disabled_before = set(event.details.get("disabled_before", "").split())
    auto_enrolled = set(event.details.get("auto_enrolled", "").split())
    for worker_id in event.details.get("workers", "").split() if action else ():
        if action == "worker.disabled" and worker_id in disabled_before:
            continue
        strategy = Strategy.AUTO_ENROLLMENT if worker_id in auto_enrolled else Strategy.API_KEY
        yield msgspec.structs.replace(
            event, action=action, subject=f"worker:{worker_id}", details={"strategy": strategy.value}
        )


def enrollment_keys_at(
    at: datetime, keys: Iterable[EnrollmentKeyRecord], events: Sequence[AuditEvent]
) -> list[str]:
    """
    Return the names of the issued enrollment keys that were not revoked, expired or used up.

    Args:
        at: As for `workers_at`.
        keys: The present keys, including revoked and expired ones.
        events: Events whose action is in `ACTIONS`; uses from before the oldest one are not counted.
    """
    uses = Counter(
        event.details.get("enrolled_with")
        for event in events
        if event.action == "worker.enrolled" and event.at <= at
    )
    return sorted(
        {key.name for key in keys if _was_good(key, at) and _had_uses_left(key, uses[key.fingerprint])}
    )


def _had_uses_left(key: EnrollmentKeyRecord, uses: int) -> bool:
    return key.max_uses is None or uses < key.max_uses


def _was_good(key: ApiKeyRecord | EnrollmentKeyRecord, at: datetime) -> bool:
    # A rotation can only make a key end earlier, so the end that is stored now is right for every earlier time.
    return (
        key.created_at <= at
        and (key.revoked_at is None or at < key.revoked_at)
        and (key.expires_at is None or at < key.expires_at)
    )


def _entry_of(worker: WorkerRecord) -> _Entry:
    return _Entry(
        worker.name,
        worker.strategy,
        worker.enabled,
        worker.superseded_by is not None,
        worker.thumbprint,
        worker.approval is None,
    )


def _undo(entries: dict[str, _Entry], event: AuditEvent) -> None:
    kind, _, worker_id = event.subject.partition(":")
    if kind != "worker":
        return
    if event.action in _BEGINS:
        entries.pop(worker_id, None)
    elif event.action in _ENDS:
        # Only an auto-enrolled Worker can retire itself, or is ephemeral, or is replaced.
        strategy = Strategy(event.details.get("strategy", Strategy.AUTO_ENROLLMENT.value))
        entries[worker_id] = _Entry(event.details.get("name", ""), strategy, None, None, None, None)
    elif (entry := entries.get(worker_id)) is not None:
        _undo_change(entry, event)


def _undo_change(entry: _Entry, event: AuditEvent) -> None:
    match event.action:
        case "worker.enabled":
            entry.enabled = False
        case "worker.disabled":
            entry.enabled = True
        case "worker.approved":
            entry.approved = False
        case "worker.superseded":
            entry.superseded = False
        case "worker.renamed":
            entry.name = event.details.get("from", entry.name)
        case "worker.key_rotated":
            entry.thumbprint = event.details.get("from", entry.thumbprint)


def _complete(entries: Mapping[str, _Entry], before: Sequence[AuditEvent]) -> None:
    """Fill in from earlier events what is not known about Workers that were deleted since."""
    unknown = {worker_id for worker_id, entry in entries.items() if None in {entry.enabled, entry.superseded}}
    known: dict[str, _Followed] = {}
    for event in before:
        worker_id = event.subject.removeprefix("worker:")
        if worker_id in unknown:
            _follow(known.setdefault(worker_id, _Followed()), event)
            # A cut-off event has no names.
            entries[worker_id].name = entries[worker_id].name or _name_in(event)
    for worker_id, found in known.items():
        entry = entries[worker_id]
        entry.enabled = found.enabled if entry.enabled is None else entry.enabled
        entry.superseded = found.superseded if entry.superseded is None else entry.superseded
        entry.approved = found.approved if entry.approved is None else entry.approved


def _name_in(event: AuditEvent) -> str:
    return event.details.get("name", "") if event.action in _BEGINS else ""


def _follow(found: _Followed, event: AuditEvent) -> None:
    """Apply what an event says about an entry."""
    if event.action in _BEGINS:
        found.enabled, found.superseded = True, False
        found.approved = event.details.get("approval") != Approval.PENDING.value
    elif event.action in {"worker.enabled", "worker.disabled"}:
        found.enabled = event.action == "worker.enabled"
    elif event.action == "worker.approved":
        found.approved = True
    elif event.action == "worker.superseded":
        found.superseded = True


def _scopes(
    keys: Sequence[ApiKeyRecord], before: Sequence[AuditEvent], after: Sequence[AuditEvent]
) -> dict[str, set[str]]:
    """Return, by key name, the Workers that each restricted key was for."""
    # If the event that issued a key was pruned, its present Workers are taken; those that were deleted since are missing.
    found: dict[str, set[str]] = {key.name: set(key.worker_ids) for key in keys}
    for event in after:
        if event.action == "api_key.allowed":
            found.get(_key_name(event), set()).difference_update(_workers_in(event))
    for event in before:
        if event.action == "api_key.issued" and _key_name(event) in found:
            found[_key_name(event)] = _workers_in(event)
        elif event.action == "api_key.allowed":
            found.get(_key_name(event), set()).update(_workers_in(event))
        elif event.action in _ENDS:
            # A new Worker under the old ID inherits no key.
            for scope in found.values():
                scope.discard(event.subject.removeprefix("worker:"))
    return found


def _key_name(event: AuditEvent) -> str:
    return event.subject.removeprefix("api_key:")


def _workers_in(event: AuditEvent) -> set[str]:
    return set(event.details.get("workers", "").split(","))


def _access(
    worker_id: str, entry: _Entry, keys: Sequence[ApiKeyRecord], scopes: Mapping[str, set[str]]
) -> WorkerAccess:
    by = _ways_in(worker_id, entry, keys, scopes)
    if entry.superseded:
        access = Access.SUPERSEDED
    elif entry.enabled is False:
        access = Access.DISABLED
    elif entry.approved is False:
        access = Access.NOT_APPROVED
    elif entry.enabled is None:
        access = Access.UNKNOWN
    else:
        access = Access.YES if by or entry.strategy is Strategy.AUTO_ENROLLMENT else Access.NO_API_KEY
    return WorkerAccess(
        worker_id=worker_id,
        name=entry.name,
        strategy=entry.strategy,
        access=access,
        by=by if access in {Access.YES, Access.UNKNOWN} else (),
    )


def _ways_in(
    worker_id: str, entry: _Entry, keys: Sequence[ApiKeyRecord], scopes: Mapping[str, set[str]]
) -> tuple[str, ...]:
    if entry.strategy is Strategy.AUTO_ENROLLMENT:
        return () if entry.thumbprint is None else (entry.thumbprint,)
    return tuple(
        sorted(
            f"{key.name} ({key.public_id})"
            for key in keys
            if key.for_all_workers or worker_id in scopes.get(key.name, ())
        )
    )
