"""Computes operators' changes to a Worker's entry: the new entry, and the audit event."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime

import msgspec

from lyftdata.core.actor import Actor
from lyftdata.core.bulk_changes import CHANGED, UNDO_WITHIN, BulkAction
from lyftdata.core.disabling import DisabledFields, later_end
from lyftdata.core.epochs import next_epoch
from lyftdata.core.records import AuditEvent, Labels, WorkerRecord
from lyftdata.core.times import format_time, parse_moment
from lyftdata.store import WriteTx, audit_log
from lyftdata.store.tables import workers

_DELETED = "worker.deleted"
_MAX_UNDOABLE = 1_000
_DISABLED = "worker.disabled"
_DISABLE_CHANGED = "worker.disable_changed"
_SHOWN = {"disabled_note": "note", "disabled_until": "until"}


class Change(msgspec.Struct, frozen=True):
    """
    A change to one Worker.

    Attributes:
        record: The new entry; the old one, if it is deleted.
        action: Of the audit event.
        details: Of the audit event.
    """

    record: WorkerRecord
    action: str
    details: Mapping[str, str] = {}


def switch(
    record: WorkerRecord, *, enabled: bool, now: datetime, fields: Mapping[str, object] | None = None
) -> Change | None:
    """Disable, with the note and the end in `fields`, or enable; None if it is already so."""
    if enabled == record.enabled:
        return None
    # Disabling ends the epoch: tokens from before must not become valid again when the Worker is enabled. Enabling ends it
    # too: what was signed in between was signed for a disabled Worker.
    after = msgspec.structs.replace(
        record,
        **{"disabled_note": None, "disabled_until": None, **(fields or {})},
        enabled=enabled,
        epoch=next_epoch(record.epoch, now=now),
    )
    # Enabling removes note and end: its event has them, so that it can be undone.
    disabled = record if enabled else after
    described = describe_disabling({name: getattr(disabled, name) for name in _SHOWN})
    details = {name: text for name, text in described.items() if text}
    return Change(after, "worker.enabled" if enabled else _DISABLED, details)


def change_disabling(record: WorkerRecord, fields: Mapping[str, object]) -> Change | None:
    """Change the note or the end of a disabled Worker; None if they are already so."""
    after = msgspec.structs.replace(record, **fields)
    if after == record:
        return None
    details = describe_disabling(fields)
    if record.disabled_until is not None and after.disabled_until != record.disabled_until:
        details["until_was"] = format_time(record.disabled_until)
    return Change(after, _DISABLE_CHANGED, details)


def disable_among_many(record: WorkerRecord, fields: DisabledFields, *, now: datetime) -> Change | None:
    """
    Disable, with the note and the end in `fields`; None if that changes nothing.

    A Worker that is already disabled keeps its note, and the later of the two ends: no end is the latest. In a bulk change, no operator looks at
    each Worker, and one that was cut off in an incident must not come back with the others.
    """
    if record.enabled:
        return switch(record, enabled=False, now=now, fields=fields)
    if record.disabled_until is None:
        return None
    until = later_end(record.disabled_until, fields.get("disabled_until"))
    return change_disabling(record, {"disabled_until": until})


def restore_switch(record: WorkerRecord, event: AuditEvent, *, now: datetime) -> Change | None:
    """
    Undo `switch` or `disable_among_many`, from its event; None if the entry has changed since.

    Also None for a Worker that was enabled before its end, if that has passed: it would be enabled by now.
    """
    if event.action == _DISABLE_CHANGED:
        if record.enabled:
            return None
        return change_disabling(record, {"disabled_until": _read_time(event.details["until_was"], now)})
    if event.action == _DISABLED:
        return switch(record, enabled=True, now=now)
    until = _read_time(event.details.get("until", ""), now)
    if until is not None and until <= now:
        return None
    fields = {"disabled_note": event.details.get("note"), "disabled_until": until}
    return switch(record, enabled=False, now=now, fields=fields)


def relabel(record: WorkerRecord, labels: Labels) -> Change | None:
    """Replace all labels; None if they are already so."""
    if labels == record.labels:
        return None
    details = {"labels": join_labels(labels.items())}
    for name, changed in (
        ("added", labels.items() - record.labels.items()),
        ("removed", record.labels.items() - labels.items()),
    ):
        if changed:
            details[name] = join_labels(changed)
    return Change(msgspec.structs.replace(record, labels=labels), "worker.labelled", details)


def restore_labels(record: WorkerRecord, details: Mapping[str, str]) -> Change | None:
    """Undo `relabel`, from the details of its event; None if the labels have changed since."""
    if join_labels(record.labels.items()) != details["labels"]:
        return None
    added, removed = (split_labels(details.get(name, "")) for name in ("added", "removed"))
    kept = {key: value for key, value in record.labels.items() if key not in added}
    return relabel(record, kept | removed)


def ask_for_next_key(record: WorkerRecord, *, now: datetime) -> Change | None:
    """Request a rotation of the identity key; None if there is none in use."""
    if record.thumbprint is None or record.superseded_by is not None:
        return None
    after = msgspec.structs.replace(record, rotation_asked_at=now)
    return Change(after, "worker.key_rotation_asked", {"thumbprint": record.thumbprint})


def remove(record: WorkerRecord) -> Change:
    """Delete the entry."""
    return Change(record, _DELETED, {"name": record.name, "strategy": record.strategy.value})


def without_later(found: Mapping[str, WorkerRecord], actor: Actor) -> dict[str, WorkerRecord]:
    """
    While a request is carried out, return only the Workers that existed when it was made; otherwise all.

    An ID can be reused: what a second operator confirms is not for a Worker that got the ID since.
    """
    asked = actor.confirmation
    return {
        worker_id: record
        for worker_id, record in found.items()
        if asked is None or record.created_at <= asked.requested_at
    }


def write_changes(
    tx: WriteTx,
    changes: Sequence[Change],
    actor: Actor,
    *,
    now: datetime,
    details: Mapping[str, str] | None = None,
) -> None:
    """Write changes to different Workers, with an audit event for each, in order; `details` are added to each event."""
    removed = [change.record.id for change in changes if change.action == _DELETED]
    workers.replace_workers(tx, [change.record for change in changes if change.action != _DELETED])
    workers.delete_workers(tx, removed)
    for change in changes:
        subject = f"worker:{change.record.id}"
        tx.audit(
            actor.audit_event(change.action, subject, at=now, details={**change.details, **(details or {})})
        )


def keep_disabled(tx: WriteTx, records: Collection[WorkerRecord], actor: Actor, *, now: datetime) -> None:
    """
    Audit Workers that were already disabled as disabled, if undoing a bulk change would otherwise enable them.

    Undo leaves alone what an operator has decided since. Without an event it would not know about the operator who disabled a Worker in
    the meantime, perhaps because of an incident, and got the answer that it is disabled.
    """
    if not records:
        return
    recent = audit_log.list_of_actions(tx.conn, [CHANGED], since=now - UNDO_WITHIN, limit=_MAX_UNDOABLE)
    undoable: set[str] = set()
    for group in recent:
        if group.event.details["action"] == BulkAction.DISABLE:
            size = int(group.event.details["count"])
            events = audit_log.events_after(tx.conn, after=group.number, limit=size)
            undoable.update(each.event.subject for each in events)
    for record in records:
        subject = f"worker:{record.id}"
        if not record.enabled and subject in undoable:
            tx.audit(actor.audit_event("worker.disabled", subject, at=now, details={"before": "disabled"}))


def describe_disabling(fields: Mapping[str, object]) -> dict[str, str]:
    """Return the note and the end of disabling in the form of an audit event; an empty text for none."""
    return {
        _SHOWN[name]: format_time(value) if isinstance(value, datetime) else str(value or "")
        for name, value in fields.items()
    }


def _read_time(text: str, now: datetime) -> datetime | None:
    return parse_moment(text, now=now, ahead=True) if text else None


def join_labels(labels: Iterable[tuple[str, str]]) -> str:
    """Return labels in the form of the audit log: neither keys nor values contain `,` or `=`."""
    return ",".join(sorted(f"{key}={value}" for key, value in labels))


def split_labels(text: str) -> Labels:
    """Parse what `join_labels` wrote; it is not validated again, since the Worker had these labels."""
    return {key: value for key, _, value in (part.partition("=") for part in text.split(",") if part)}
