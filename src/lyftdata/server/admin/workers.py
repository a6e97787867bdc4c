"""
Adds, changes and deletes Worker entries; each use case is one transaction with its audit event.
"""

from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum

import msgspec

from lyftdata.core.actor import Actor
from lyftdata.core.bulk_changes import CREATED
from lyftdata.core.change_requests import ChangeWorkers
from lyftdata.core.disabling import NOTHING_MORE, DisabledFields, Disabling, read_disabling
from lyftdata.core.epochs import first_epoch
from lyftdata.core.errors import ConflictError, InvalidInputError
from lyftdata.core.known_secrets import KnownSecrets
from lyftdata.core.name_patterns import expand_worker_ids, expand_worker_names
from lyftdata.core.names import generate_worker_id, parse_labels, parse_worker_id, parse_worker_name
from lyftdata.core.records import Labels, Strategy, WorkerRecord
from lyftdata.server.admin.api_keys import ApiKeys, IssuedKey
from lyftdata.server.admin.edits import check_unchanged
from lyftdata.server.admin.scope_checks import (
    check_all_grants,
    check_grants,
    check_keeps_labels,
    check_name_free,
    with_scope_labels,
)
from lyftdata.server.admin.second_operator.gate import SecondOperatorGate
from lyftdata.server.admin.worker_changes import (
    Change,
    ask_for_next_key,
    change_disabling,
    keep_disabled,
    relabel,
    remove,
    switch,
    write_changes,
)
from lyftdata.server.clock import Clock, RandomBytes
from lyftdata.server.sessions.batched import in_parts
from lyftdata.store import Store, WriteTx
from lyftdata.store.changes import WorkerChanged
from lyftdata.store.tables import workers


class NewKey(StrEnum):
    """Which new API keys the new Workers get: one each, or one for all."""

    EACH = "each"
    SHARED = "shared"


class AddedWorkers(msgspec.Struct, frozen=True):
    """
    Newly created Workers.

    Attributes:
        number: Of the audit event `workers.created`, which their own events have as `group`.
        records: Their entries, in the order of the pattern.
        issued: Their new keys: none, one for all, or one each in the same order.
    """

    number: int
    records: Sequence[WorkerRecord]
    issued: Sequence[IssuedKey]


class Workers:
    """Adds, renames, labels, disables, enables and deletes Workers."""

    def __init__(
        self,
        *,
        store: Store,
        api_keys: ApiKeys,
        known_secrets: KnownSecrets,
        gate: SecondOperatorGate,
        clock: Clock,
        random_bytes: RandomBytes,
    ) -> None:
        self._store = store
        self._gate = gate
        self._known_secrets = known_secrets
        self._api_keys = api_keys
        self._clock = clock
        self._random_bytes = random_bytes

    async def add(
        self,
        name: str,
        *,
        worker_id: str | None,
        labels: Labels,
        issue_key: bool,
        existing_key: str | None = None,
        actor: Actor,
    ) -> tuple[WorkerRecord, IssuedKey | None]:
        """
        Create a Worker for strategy `api_key`; if requested, with its own key, or allowed to use an existing one.

        Raises:
            InvalidInputError: Name, ID or a label is invalid, or contradicts the scope; or both a new key and an existing one.
            NotFoundError: There is no such key within the scope.
            ConflictError: `worker_id_taken`, `worker_name_taken`, `api_key_revoked`, `api_key_expired`.
            ForbiddenError: It would get tokens for a resource outside the scope.
        """
        if issue_key and existing_key is not None:
            raise InvalidInputError("api_key", "cannot be an existing key and a new one at once")
        record = self._new_entry(name, worker_id, with_scope_labels(actor.scope, labels), actor)

        def op(tx: WriteTx) -> IssuedKey | None:
            if actor.scope.is_limited:
                check_name_free(tx, record.name, actor)
                check_grants(tx, None, record, actor)
            workers.insert_worker(tx, record, unique_name=True)
            _audit_created(tx, record, actor)
            if existing_key is not None:
                self._api_keys.allow_in(tx, existing_key, [record.id], actor)
            return self._api_keys.issue_in(tx, record, actor) if issue_key else None

        return record, await self._store.write(op)

    async def add_many(
        self,
        names: str,
        *,
        ids: str | None = None,
        labels: Labels,
        new_key: NewKey | None,
        existing_key: str | None = None,
        actor: Actor,
    ) -> AddedWorkers:
        """
        Create the Workers of a pattern such as `press-[01-20]`, all of them or none, for strategy `api_key`.

        Args:
            names: The pattern of their names.
            ids: The pattern of their IDs, for the same number; None to generate them.
            labels: For each Worker.
            new_key: Whether each gets its own key, or all share one; None for no new key.
            existing_key: The name of a key that all may use.
            actor: Who does it.

        Raises:
            InvalidInputError: A pattern, a name, an ID or a label is invalid, or contradicts the scope; or both a new key and an existing one.
            NotFoundError: There is no such key within the scope.
            ConflictError: `worker_id_taken`, `worker_name_taken`, `api_key_revoked`, `api_key_expired`.
            ForbiddenError: One would get tokens for a resource outside the scope.
        """
        if new_key is not None and existing_key is not None:
            raise InvalidInputError("api_key", "cannot be an existing key and a new one at once")
        records = self._new_entries(names, ids, with_scope_labels(actor.scope, labels), actor)

        def op(tx: WriteTx) -> AddedWorkers:
            workers.ensure_all_free(tx.conn, records)
            check_all_grants(tx, [(None, record) for record in records], actor)
            workers.insert_fresh(tx, records)
            number = _audit_added(tx, names.strip(), records, actor)
            if existing_key is not None:
                self._api_keys.allow_in(tx, existing_key, [record.id for record in records], actor)
            return AddedWorkers(number, records, self._issue_in(tx, new_key, records, actor))

        return await self._store.write(op)

    def _new_entries(self, names: str, ids: str | None, labels: Labels, actor: Actor) -> list[WorkerRecord]:
        given_names = expand_worker_names(names)
        # The pattern is stored too, in the audit log.
        self._known_secrets.check("name", names)
        size = len(given_names)
        given_ids: Sequence[str | None] = [None] * size if ids is None else expand_worker_ids(ids, size=size)
        return [
            self._new_entry(name, worker_id, labels, actor)
            for name, worker_id in zip(given_names, given_ids, strict=True)
        ]

    def _issue_in(
        self, tx: WriteTx, new_key: NewKey | None, records: Sequence[WorkerRecord], actor: Actor
    ) -> list[IssuedKey]:
        match new_key:
            case None:
                return []
            case NewKey.EACH:
                return [self._api_keys.issue_in(tx, record, actor) for record in records]
            case NewKey.SHARED:
                stem = f"{records[0].name}-to-{records[-1].name}"
                return [self._api_keys.issue_shared_in(tx, stem, records, actor)]

    async def change(
        self,
        worker_id: str,
        *,
        name: str | None = None,
        labels: Labels | None = None,
        enabled: bool | None = None,
        disabling: Disabling = NOTHING_MORE,
        expected: Mapping[str, object] | None = None,
        actor: Actor,
    ) -> WorkerRecord:
        """
        Rename, label, disable or enable a Worker; arguments that are None change nothing, except for the end of disabling.

        Disabling a disabled Worker without giving an end removes its end: it must not be enabled automatically after that.

        Args:
            worker_id: The Worker.
            name: The new name.
            labels: Its new labels, replacing all others.
            enabled: Whether it may connect.
            disabling: The note and the end of disabling.
            expected: Fields as the caller saw them; None skips the check.
            actor: Who does it.

        Raises:
            InvalidInputError: Name, label, note or end is invalid, or a label of the scope is missing.
            NotFoundError: No such Worker within the scope.
            ConflictError: `worker_name_taken`, `changed_meanwhile`; `worker_not_disabled`: only a disabled Worker has a note and an end.
            ForbiddenError: It would get tokens for a resource outside the scope.
            SecondOperatorRequiredError: This operator has disabled too many within the hour; another one must confirm it.
        """
        new_name = None if name is None else parse_worker_name(name)
        new_labels = None if labels is None else parse_labels(labels)
        self._check(new_name or "", new_labels or {})
        fields = self._read_disabling(disabling, enabled=enabled)

        def op(tx: WriteTx) -> WorkerRecord:
            before = record = workers.get_worker_in(tx.conn, worker_id, actor.scope)
            check_unchanged(record, expected)
            if enabled is False and record.enabled:
                asked = ChangeWorkers(
                    action="disable",
                    worker_ids=[record.id],
                    note=fields.get("disabled_note"),
                    until=fields.get("disabled_until"),
                )
                self._gate.check(tx, asked, actor=actor)
            if new_name is not None and new_name != record.name:
                record = self._rename(tx, record, new_name, actor)
            if new_labels is not None and new_labels != record.labels:
                check_keeps_labels(actor.scope, new_labels)
                record = self._write(tx, record, relabel(record, new_labels), actor)
            check_grants(tx, before, record, actor)
            if enabled is not None and enabled != record.enabled:
                return self._write(
                    tx, record, switch(record, enabled=enabled, now=self._clock(), fields=fields), actor
                )
            if fields:
                _check_disabled(record)
                record = self._write(tx, record, change_disabling(record, fields), actor)
            if enabled is not None:
                # Published again even if nothing changes: the caller may be repeating this because the result of the first commit was unknown,
                # and connected Workers must not be judged by the state before it.
                tx.changed(WorkerChanged(record.id, record))
                keep_disabled(tx, [] if enabled else [record], actor, now=self._clock())
            return record

        async with self._gate.asking(actor):
            return await self._store.write(op)

    async def ask_key_rotation(self, worker_ids: Iterable[str], *, actor: Actor) -> list[WorkerRecord]:
        """
        Ask Workers to rotate their identity key, and return those that were asked.

        Workers without an identity key, superseded ones, those outside the scope and deleted ones are left out. A connected Worker is asked at once,
        others when they connect. In batches: with a large fleet, Workers' requests are answered in between.
        """
        asked: list[WorkerRecord] = []
        for part in in_parts(worker_ids):

            def op(tx: WriteTx, part: Sequence[str] = part) -> list[WorkerRecord]:
                now = self._clock()
                found = workers.find_workers_in(tx.conn, part, actor.scope).values()
                changes = [
                    c for c in (ask_for_next_key(record, now=now) for record in found) if c is not None
                ]
                write_changes(tx, changes, actor, now=now)
                return [change.record for change in changes]

            asked += await self._store.write(op)
        return asked

    async def delete(self, worker_id: str, *, actor: Actor) -> WorkerRecord:
        """
        Remove a Worker's entry; keys issued for it alone then work for no Worker.

        Raises:
            NotFoundError: No such Worker.
            SecondOperatorRequiredError: This operator has deleted too many within the hour; another one must confirm it.
        """

        def op(tx: WriteTx) -> WorkerRecord:
            record = workers.get_worker_in(tx.conn, worker_id, actor.scope)
            self._gate.check(tx, ChangeWorkers(action="delete", worker_ids=[record.id]), actor=actor)
            write_changes(tx, [remove(record)], actor, now=self._clock())
            return record

        async with self._gate.asking(actor):
            return await self._store.write(op)

    def _new_entry(self, name: str, worker_id: str | None, labels: Labels, actor: Actor) -> WorkerRecord:
        now = self._clock()
        given_name, given_labels = parse_worker_name(name), parse_labels(labels)
        self._check(given_name, given_labels)
        self._known_secrets.check("id", worker_id or "")
        return WorkerRecord(
            id=generate_worker_id(self._random_bytes) if worker_id is None else parse_worker_id(worker_id),
            name=given_name,
            strategy=Strategy.API_KEY,
            labels=given_labels,
            epoch=first_epoch(now),
            created_at=now,
            created_by=actor.audit_name,
        )

    def _check(self, name: str, labels: Labels) -> None:
        """Reject a name or labels that contain a secret of this Server; raises InvalidInputError."""
        self._known_secrets.check("name", name)
        self._known_secrets.check_labels("labels", labels)

    def _rename(self, tx: WriteTx, record: WorkerRecord, name: str, actor: Actor) -> WorkerRecord:
        check_name_free(tx, name, actor, besides=record.id)
        details = {"from": record.name, "to": name}
        renamed = Change(msgspec.structs.replace(record, name=name), "worker.renamed", details)
        return self._write(tx, record, renamed, actor)

    def _write(self, tx: WriteTx, record: WorkerRecord, change: Change | None, actor: Actor) -> WorkerRecord:
        """Write a change if there is one, and return the new entry."""
        if change is None:
            return record
        write_changes(tx, [change], actor, now=self._clock())
        return change.record

    def _read_disabling(self, disabling: Disabling, *, enabled: bool | None) -> DisabledFields:
        """Return the fields to set; raises InvalidInputError."""
        if enabled and disabling.is_given:
            raise InvalidInputError("disabled_note", "goes with a Worker that is disabled")
        fields = read_disabling(disabling, known_secrets=self._known_secrets, now=self._clock())
        return DisabledFields({"disabled_until": None, **fields}) if enabled is False else fields


def _check_disabled(record: WorkerRecord) -> None:
    if record.enabled:
        raise ConflictError(
            "worker_not_disabled",
            f"The Worker '{record.id}' is not disabled.",
            hint="Disable it with this note and end.",
        )


def _audit_added(tx: WriteTx, pattern: str, records: Sequence[WorkerRecord], actor: Actor) -> int:
    """Write one event for all of them, followed by one for each; return the number of the first, which the others contain."""
    details = {"names": pattern, "count": str(len(records))}
    tx.audit(actor.audit_event(CREATED, "workers", at=records[0].created_at, details=details))
    number = tx.head.number
    for record in records:
        _audit_created(tx, record, actor, group=str(number))
    return number


def _audit_created(tx: WriteTx, record: WorkerRecord, actor: Actor, **details: str) -> None:
    tx.audit(
        actor.audit_event(
            "worker.created", _subject(record), at=record.created_at, details={"name": record.name, **details}
        )
    )


def _subject(record: WorkerRecord) -> str:
    return f"worker:{record.id}"
