"""
Adds, changes and deletes Worker entries; each use case is one transaction with its audit event.
"""

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from lyftdata.core.actor import Actor
from lyftdata.core.disabling import Disabling, parse_note, parse_until
from lyftdata.core.epochs import first_epoch
from lyftdata.core.errors import ConflictError, InvalidInputError
from lyftdata.core.known_secrets import KnownSecrets
from lyftdata.core.names import generate_worker_id, parse_labels, parse_worker_id, parse_worker_name
from lyftdata.core.records import Labels, Strategy, WorkerRecord
from lyftdata.server.admin.api_keys import ApiKeys, IssuedKey
from lyftdata.server.admin.edits import check_unchanged
from lyftdata.server.admin.scope_checks import (
    check_grants,
    check_keeps_labels,
    check_name_free,
    with_scope_labels,
)
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

_NO_MORE = Disabling()


class Workers:
    """Adds, renames, labels, disables, enables and deletes Workers."""

    def __init__(
        self,
        *,
        store: Store,
        api_keys: ApiKeys,
        known_secrets: KnownSecrets,
        clock: Clock,
        random_bytes: RandomBytes,
    ) -> None:
        self._store = store
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
        Create a Worker for strategy `api_key`; with a key for it alone, or allowed to use one that there is, if asked.

        Raises:
            InvalidInputError: Name, ID or a label breaks its rule, or contradicts the scope; a new key and an existing one at once.
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
            tx.audit(
                actor.audit_event(
                    "worker.created", _subject(record), at=record.created_at, details={"name": record.name}
                )
            )
            if existing_key is not None:
                self._api_keys.allow_in(tx, existing_key, [record.id], actor)
            return self._api_keys.issue_in(tx, record, actor) if issue_key else None

        return record, await self._store.write(op)

    async def change(
        self,
        worker_id: str,
        *,
        name: str | None = None,
        labels: Labels | None = None,
        enabled: bool | None = None,
        disabling: Disabling = _NO_MORE,
        expected: Mapping[str, object] | None = None,
        actor: Actor,
    ) -> WorkerRecord:
        """
        Rename, label, disable or enable a Worker; what is None stays as it is, but for the end of disabling.

        To disable a Worker again without an end is to disable it without an end: it must not come back by itself after that.

        Args:
            worker_id: Whose.
            name: The new name.
            labels: All its labels from now on.
            enabled: Whether it may connect.
            disabling: The note and the end of disabling.
            expected: Fields as they were when this was decided; None does not ask.
            actor: Who does it.

        Raises:
            InvalidInputError: Name, label, note or end breaks its rule, or a label of the scope is missing.
            NotFoundError: No such Worker within the scope.
            ConflictError: `worker_name_taken`, `changed_meanwhile`; `worker_not_disabled`: it has no note and no end to change.
            ForbiddenError: It would get tokens for a resource outside the scope.
        """
        new_name = None if name is None else parse_worker_name(name)
        new_labels = None if labels is None else parse_labels(labels)
        self._check(new_name or "", new_labels or {})
        fields = self._read_disabling(disabling, enabled=enabled)

        def op(tx: WriteTx) -> WorkerRecord:
            before = record = workers.get_worker_in(tx.conn, worker_id, actor.scope)
            check_unchanged(record, expected)
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
                # Published again although nothing changes: anyone who repeats this may do so because the first commit's
                # outcome was unknown, and what is connected must not go by the state before it.
                tx.changed(WorkerChanged(record.id, record))
                keep_disabled(tx, [] if enabled else [record], actor, now=self._clock())
            return record

        return await self._store.write(op)

    async def ask_key_rotation(self, worker_ids: Iterable[str], *, actor: Actor) -> list[WorkerRecord]:
        """
        Ask Workers to rotate their identity key, and return those that were asked.

        Left out are those without an identity key, superseded ones, those outside the scope, and those that are gone. One that is connected is asked at once,
        another one when it connects. In parts: of a large fleet, Workers' requests are answered in between.
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
        """

        def op(tx: WriteTx) -> WorkerRecord:
            record = workers.get_worker_in(tx.conn, worker_id, actor.scope)
            write_changes(tx, [remove(record)], actor, now=self._clock())
            return record

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
        """Refuse a name or labels that hold a secret of this Server; raises InvalidInputError."""
        self._known_secrets.check("name", name)
        self._known_secrets.check_labels("labels", labels)

    def _rename(self, tx: WriteTx, record: WorkerRecord, name: str, actor: Actor) -> WorkerRecord:
        check_name_free(tx, name, actor, besides=record.id)
        details = {"from": record.name, "to": name}
        renamed = Change(msgspec.structs.replace(record, name=name), "worker.renamed", details)
        return self._write(tx, record, renamed, actor)

    def _write(self, tx: WriteTx, record: WorkerRecord, change: Change | None, actor: Actor) -> WorkerRecord:
        """Write a change if there is one, and return the entry as it is then."""
        if change is None:
            return record
        write_changes(tx, [change], actor, now=self._clock())
        return change.record

    def _read_disabling(self, disabling: Disabling, *, enabled: bool | None) -> dict[str, object]:
        """Return the fields that are to be set; raises InvalidInputError."""
        if enabled and disabling.is_given:
            raise InvalidInputError("disabled_note", "goes with a Worker that is disabled")
        fields: dict[str, object] = {}
        if disabling.note is not None:
            self._known_secrets.check("disabled_note", disabling.note)
            fields["disabled_note"] = parse_note(disabling.note)
        if disabling.until is not None or enabled is False:
            fields["disabled_until"] = parse_until(disabling.until or "", now=self._clock())
        return fields


def _check_disabled(record: WorkerRecord) -> None:
    if record.enabled:
        raise ConflictError(
            "worker_not_disabled",
            f"The Worker '{record.id}' is not disabled.",
            hint="Disable it with this note and end.",
        )


def _subject(record: WorkerRecord) -> str:
    return f"worker:{record.id}"
