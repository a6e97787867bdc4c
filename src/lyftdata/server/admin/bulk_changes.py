"""
Changes many Workers in one transaction, and undoes such changes.

A change is one event of the audit log, whose number identifies it, followed by one event for each changed Worker;
all of them have that number as `group`. The change is undone from these events: nothing else is stored, so any Server can do it.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Literal

import msgspec

from lyftdata.core.actor import Actor
from lyftdata.core.bulk_changes import (
    CHANGED,
    MAX_BY_SEARCH,
    REVERSIBLE,
    UNDO_WITHIN,
    BulkAction,
    is_within,
)
from lyftdata.core.change_requests import ChangeWorkers
from lyftdata.core.disabling import NOTHING_MORE, DisabledFields, Disabling, read_disabling
from lyftdata.core.errors import ConflictError, ForbiddenError, InvalidInputError, NotFoundError
from lyftdata.core.known_secrets import KnownSecrets
from lyftdata.core.names import parse_labels
from lyftdata.core.records import AuditEvent, ChainedAuditEvent, Labels, WorkerRecord
from lyftdata.core.redaction import hide_credentials
from lyftdata.core.scopes import Scope
from lyftdata.core.text import count
from lyftdata.core.worker_query import parse_worker_query
from lyftdata.server.admin.scope_checks import check_all_grants, check_keeps_labels
from lyftdata.server.admin.second_operator.gate import SecondOperatorGate
from lyftdata.server.admin.worker_changes import (
    Change,
    ask_for_next_key,
    describe_disabling,
    disable_among_many,
    keep_disabled,
    relabel,
    remove,
    restore_labels,
    restore_switch,
    switch,
    without_later,
    write_changes,
)
from lyftdata.server.admin.worker_queries import WorkerQueries
from lyftdata.server.clock import Clock
from lyftdata.store import Store, WriteTx, audit_log
from lyftdata.store.tables import workers

UNDONE = "workers.undone"
_SUBJECT = "workers"
_CUTS: Mapping[BulkAction, Literal["disable", "delete"]] = {
    BulkAction.DISABLE: "disable",
    BulkAction.DELETE: "delete",
}
_MAX_UNDONE = 1_000


class BulkChange(msgspec.Struct, frozen=True, kw_only=True):
    """
    A change that was made.

    Attributes:
        number: Identifies it for undoing; None if nothing was changed.
        changed: The IDs of the changed Workers.
        unchanged: The IDs of Workers that were already in that state, or have no identity key to rotate.
        gone: The IDs of Workers whose entries no longer exist.
        undo_until: Until when it can be undone; None if it cannot.
    """

    number: int | None
    changed: Sequence[str]
    unchanged: Sequence[str]
    gone: Sequence[str]
    undo_until: datetime | None


class Undone(msgspec.Struct, frozen=True, kw_only=True):
    """A change that was undone: which Workers were restored, and which were not, by reason."""

    number: int | None
    action: BulkAction
    restored: Sequence[str]
    gone: Sequence[str]
    changed_since: Sequence[str]


class BulkChanges:
    """Changes many Workers at once, and undoes such changes."""

    def __init__(
        self,
        *,
        queries: WorkerQueries,
        known_secrets: KnownSecrets,
        gate: SecondOperatorGate,
        store: Store,
        clock: Clock,
    ) -> None:
        self._queries = queries
        self._known_secrets = known_secrets
        self._gate = gate
        self._store = store
        self._clock = clock

    async def find(self, search: str, *, scope: Scope) -> list[WorkerRecord]:
        """
        Return the Workers within a scope that match a search now, in order of ID.

        Raises:
            InvalidInputError: The search is invalid, matches no Worker, or matches too many.
        """
        found = await self._queries.find(parse_worker_query(search), scope=scope)
        if not found:
            raise InvalidInputError("workers", "The search finds no Worker.")
        if len(found) > MAX_BY_SEARCH:
            raise InvalidInputError(
                "workers",
                f"At most {MAX_BY_SEARCH:,} Workers can be changed at once, and these are {len(found):,}: narrow the search.",
            )
        return sorted(found, key=lambda worker: worker.id)

    async def change_found(
        self,
        action: BulkAction,
        search: str,
        *,
        match: str | None,
        expected: int | None,
        added_labels: Labels,
        disabling: Disabling = NOTHING_MORE,
        actor: Actor,
    ) -> BulkChange:
        """
        Change the Workers that match a search, if they are the intended ones.

        Args:
            action: What to do.
            search: In the language of `core.worker_query`.
            match: Fingerprint of the Workers that were shown; every Worker that would be changed must be among them.
            expected: How many Workers must match.
            added_labels: For `label`.
            disabling: For `disable`.
            actor: Who does it.

        Raises:
            InvalidInputError: As for `find` and `change`; or neither a fingerprint nor a number is given.
            ConflictError: `matches_changed`, `match_count_differs`; nothing was changed.
        """
        if match is None and expected is None:
            raise InvalidInputError(
                "expect", "or match must be given: a search alone does not say which Workers are meant"
            )
        ids = [worker.id for worker in await self.find(search, scope=actor.scope)]
        if expected is not None and len(ids) != expected:
            raise ConflictError(
                "match_count_differs",
                f"Nothing was changed: the search finds {count(len(ids), 'Worker')}, and {expected:,} were expected.",
                hint="Look at them first: lyftdata workers list 'SEARCH'.",
            )
        if match is not None and not is_within(ids, match):
            raise ConflictError(
                "matches_changed",
                "Nothing was changed: Workers match now that did not when the search was shown.",
                hint="Look at them again, and confirm.",
            )
        return await self.change(
            action, ids, added_labels=added_labels, disabling=disabling, search=search, actor=actor
        )

    async def change(
        self,
        action: BulkAction,
        worker_ids: Sequence[str],
        *,
        added_labels: Labels,
        disabling: Disabling = NOTHING_MORE,
        actor: Actor,
        search: str | None = None,
    ) -> BulkChange:
        """
        Change many Workers, all or none, with one group of audit events.

        Args:
            action: What to do.
            worker_ids: Which Workers; those that no longer exist are left out.
            added_labels: For `label`: added to each Worker's own.
            disabling: For `disable`: a Worker that is already disabled keeps its note, and the later of the two ends.
            actor: Who does it.
            search: The search that matched them, for the audit log; None if they were named.

        Raises:
            InvalidInputError: A label, the note or the end is invalid, a label contradicts the scope, or a Worker would have too many.
            ForbiddenError: A Worker would get tokens for a resource outside the scope.
            SecondOperatorRequiredError: A second operator must confirm it.
        """
        labels = parse_labels(added_labels)
        if (action is BulkAction.LABEL) != bool(labels):
            raise InvalidInputError("labels", "must be given to add labels, and for nothing else")
        self._known_secrets.check_labels("labels", labels)
        self._known_secrets.check("q", search or "")
        disabled = self._read_disabling(action, disabling)

        def op(tx: WriteTx) -> BulkChange:
            found = without_later(workers.find_workers_in(tx.conn, worker_ids, actor.scope), actor)
            now = self._clock()
            changes = _changes(found, worker_ids, lambda worker: _make(action, worker, labels, disabled, now))
            if action in _CUTS:
                asked = ChangeWorkers(
                    action=_CUTS[action],
                    worker_ids=[change.record.id for change in changes],
                    search=None if search is None else hide_credentials(search),
                    note=disabled.get("disabled_note"),
                    until=disabled.get("disabled_until"),
                )
                self._gate.check(tx, asked, actor=actor)
            details = {"action": action.value}
            if search is not None:
                details["search"] = hide_credentials(search)
            if labels:
                details["labels"] = ",".join(f"{key}={value}" for key, value in sorted(labels.items()))
            details |= {name: text for name, text in describe_disabling(disabled).items() if text}
            number = self._write(tx, CHANGED, changes, found, details, actor)
            changed = {change.record.id for change in changes}
            if action is BulkAction.DISABLE:
                already = [record for worker_id, record in found.items() if worker_id not in changed]
                keep_disabled(tx, already, actor, now=now)
            return BulkChange(
                number=number,
                changed=[worker_id for worker_id in worker_ids if worker_id in changed],
                unchanged=[worker_id for worker_id in worker_ids if worker_id in found.keys() - changed],
                gone=[worker_id for worker_id in worker_ids if worker_id not in found],
                undo_until=now + UNDO_WITHIN if number is not None and action in REVERSIBLE else None,
            )

        async with self._gate.asking(actor):
            return await self._store.write(op)

    async def undo(self, number: int, *, actor: Actor) -> Undone:
        """
        Undo a change, except for Workers that were changed since; in one transaction.

        Raises:
            NotFoundError: There is no such change.
            ForbiddenError: Another operator made it.
            ConflictError: `not_reversible`, `undo_expired`, `undone_already`.
            SecondOperatorRequiredError: It enabled Workers, and a second operator must confirm that so many are disabled.
        """

        def op(tx: WriteTx) -> Undone:
            group = audit_log.find_event(tx.conn, number)
            if group is None or group.event.action != CHANGED:
                raise NotFoundError("bulk_change", str(number))
            action = self._check_undoable(tx, group, actor)
            size = int(group.event.details["count"])
            events = audit_log.events_after(tx.conn, after=number, limit=size)
            ids = [event.event.subject.removeprefix("worker:") for event in events]
            since = audit_log.workers_changed_after(tx.conn, after=number + size)
            found = workers.find_workers_in(tx.conn, ids, actor.scope)
            untouched = {worker_id: record for worker_id, record in found.items() if worker_id not in since}
            made = {worker_id: event.event for worker_id, event in zip(ids, events, strict=True)}
            now = self._clock()
            changes = _changes(untouched, ids, lambda worker: _reverse(action, worker, made[worker.id], now))
            if action is BulkAction.ENABLE:
                # Evasion: this disables them, with no search or ID of its own. A confirmed request disables them without the note and end that
                # they had before.
                again_disabled = [change.record.id for change in changes]
                self._gate.check(tx, ChangeWorkers(action="disable", worker_ids=again_disabled), actor=actor)
            gone = [worker_id for worker_id in ids if worker_id not in found]
            restored = {change.record.id for change in changes}
            kept = [worker_id for worker_id in ids if worker_id in found and worker_id not in restored]
            details = {
                "undone": str(number),
                "action": action.value,
                "left_out": str(len(ids) - len(changes)),
            }
            return Undone(
                number=self._write(tx, UNDONE, changes, found, details, actor),
                action=action,
                restored=[worker_id for worker_id in ids if worker_id in restored],
                gone=gone,
                changed_since=kept,
            )

        async with self._gate.asking(actor):
            return await self._store.write(op)

    def _read_disabling(self, action: BulkAction, disabling: Disabling) -> DisabledFields:
        if disabling.is_given and action is not BulkAction.DISABLE:
            raise InvalidInputError("disabled_note", "and an end go with disabling, and with nothing else")
        return read_disabling(disabling, known_secrets=self._known_secrets, now=self._clock())

    def _check_undoable(self, tx: WriteTx, group: ChainedAuditEvent, actor: Actor) -> BulkAction:
        """Return the action of a change, if this caller may undo it now."""
        if group.event.actor != actor.audit_name:
            raise ForbiddenError("Only the operator who has made a change can undo it.")
        action = BulkAction(group.event.details["action"])
        if action not in REVERSIBLE:
            raise ConflictError("not_reversible", "This cannot be undone.")
        if self._clock() >= group.event.at + UNDO_WITHIN:
            raise ConflictError(
                "undo_expired",
                f"A change can be undone for {UNDO_WITHIN // timedelta(minutes=1)} minutes; nothing was changed.",
            )
        later = audit_log.list_of_actions(tx.conn, [UNDONE], since=group.event.at, limit=_MAX_UNDONE)
        if any(event.event.details.get("undone") == str(group.number) for event in later):
            raise ConflictError("undone_already", "This was undone already.")
        return action

    def _write(
        self,
        tx: WriteTx,
        action: str,
        changes: Sequence[Change],
        before: Mapping[str, WorkerRecord],
        details: dict[str, str],
        actor: Actor,
    ) -> int | None:
        """Write the changes and their group of audit events; return its number, None if nothing changes."""
        if not changes:
            return None
        labelled = [c.record for c in changes if c.record.labels != before[c.record.id].labels]
        for after in labelled:
            check_keeps_labels(actor.scope, after.labels)
        check_all_grants(tx, [(before[after.id], after) for after in labelled], actor)
        now = self._clock()
        tx.audit(actor.audit_event(action, _SUBJECT, at=now, details=details | {"count": str(len(changes))}))
        number = tx.head.number
        write_changes(tx, changes, actor, now=now, details={"group": str(number)})
        return number


def _make(
    action: BulkAction, worker: WorkerRecord, labels: Labels, disabled: DisabledFields, now: datetime
) -> Change | None:
    match action:
        case BulkAction.DISABLE:
            return disable_among_many(worker, disabled, now=now)
        case BulkAction.ENABLE:
            return switch(worker, enabled=True, now=now)
        case BulkAction.DELETE:
            return remove(worker)
        case BulkAction.ROTATE_KEY:
            return ask_for_next_key(worker, now=now)
        case BulkAction.LABEL:
            return relabel(worker, _with_labels(worker, labels))


def _with_labels(worker: WorkerRecord, added: Labels) -> Labels:
    try:
        return parse_labels(worker.labels | added)
    except InvalidInputError as error:
        raise InvalidInputError(error.field, f"{error.message}: '{worker.id}' would have more") from error


def _reverse(action: BulkAction, worker: WorkerRecord, event: AuditEvent, now: datetime) -> Change | None:
    """Undo an action on a Worker; None if the Worker has changed since."""
    if action is BulkAction.LABEL:
        return restore_labels(worker, event.details)
    return restore_switch(worker, event, now=now)


def _changes(
    found: Mapping[str, WorkerRecord],
    worker_ids: Iterable[str],
    make: Callable[[WorkerRecord], Change | None],
) -> list[Change]:
    wanted = (make(found[worker_id]) for worker_id in dict.fromkeys(worker_ids) if worker_id in found)
    return [change for change in wanted if change is not None]
