"""Table of Worker entries."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    Row,
    bindparam,
    delete,
    func,
    insert,
    select,
    true,
    update,
)
from sqlalchemy.exc import IntegrityError

from lyftdata.core.errors import ConflictError, NotFoundError
from lyftdata.core.records import Approval, Labels, Strategy, WorkerRecord
from lyftdata.core.scopes import Scope
from lyftdata.store.changes import PresenceChanged, WorkerChanged
from lyftdata.store.rows import from_row, from_rows, to_row
from lyftdata.store.schema import presence, token_origins, worker_traces, workers
from lyftdata.store.tables import api_keys, resources
from lyftdata.store.writer.transaction import WriteTx

_BATCH = 500
_MAX_LISTED = 10
# If every Worker of a fleet has labels of its own, there is nothing to share.
_MAX_SHARED_LABELS = 10_000


def insert_worker(tx: WriteTx, record: WorkerRecord, *, unique_name: bool) -> None:
    """
    Add an entry.

    Args:
        tx: The transaction.
        record: The entry.
        unique_name: Whether to refuse it if a live entry has the same name.

    Raises:
        ConflictError: `worker_id_taken`, `worker_name_taken`.
    """
    ensure_id_free(tx.conn, record.id)
    if unique_name:
        ensure_name_free(tx.conn, record.name)
    try:
        tx.conn.execute(insert(workers), to_row(record))
    except IntegrityError as error:
        raise ConflictError(
            "worker_id_taken", "There is a Worker with this ID or identity key already."
        ) from error
    tx.changed(WorkerChanged(record.id, record))


def insert_fresh(tx: WriteTx, records: Sequence[WorkerRecord]) -> None:
    """
    Add entries with newly generated IDs, without checking their names: all of them, or none.

    Raises:
        ConflictError: `worker_id_taken`.
    """
    if not records:
        return
    try:
        tx.conn.execute(insert(workers), [to_row(record) for record in records])
    except IntegrityError as error:
        raise ConflictError(
            "worker_id_taken", "There is a Worker with this ID or identity key already."
        ) from error
    for record in records:
        tx.changed(WorkerChanged(record.id, record))


def ensure_all_free(conn: Connection, records: Sequence[WorkerRecord]) -> None:
    """
    Reject new entries if any of their IDs or names is taken; the error names all that are taken, but not who has them.

    Raises:
        ConflictError: `worker_id_taken`, `worker_name_taken`.
    """
    # Spelled as requested: the error does not reveal how a Worker of another team spells its ID.
    alike = {worker_id.lower() for worker_id in _find_alike(conn, [record.id for record in records])}
    _refuse_taken("id", "IDs", [record.id for record in records if record.id.lower() in alike])
    _refuse_taken("name", "names", find_live_by_names(conn, [record.name for record in records]))


def _refuse_taken(what: str, plural: str, taken: Collection[str]) -> None:
    if not taken:
        return
    named = sorted(taken)
    listed = ", ".join(f"'{text}'" for text in named[:_MAX_LISTED])
    more = f" and {len(named) - _MAX_LISTED:,} more" if len(named) > _MAX_LISTED else ""
    raise ConflictError(
        f"worker_{what}_taken",
        f"No Worker was added: there are Workers with {'this' if len(named) == 1 else 'these'} "
        f"{plural.removesuffix('s') if len(named) == 1 else plural} already: {listed}{more}.",
        hint="Choose another range, or rename or delete those Workers.",
    )


def ensure_id_free(conn: Connection, worker_id: str) -> None:
    """Raise ConflictError `worker_id_taken` if an entry has this ID, or one that differs only in case."""
    taken = _find_alike(conn, [worker_id])
    if worker_id in taken:
        raise ConflictError("worker_id_taken", f"There is a Worker with the ID '{worker_id}' already.")
    if taken:
        raise ConflictError(
            "worker_id_taken",
            f"There is a Worker whose ID differs from '{worker_id}' only in case: other programs may take the two for one.",
            hint="Choose another ID.",
        )


def _find_alike(conn: Connection, worker_ids: Sequence[str]) -> set[str]:
    """
    Return the IDs of entries that equal one of these when case is ignored.

    Impersonation: services that grant by Worker ID may ignore case. OpenBao does, and would let `Press-01` read the secrets of `press-01`.
    """
    wanted = [worker_id.lower() for worker_id in worker_ids]
    query = select(workers.c.id).where(func.lower(workers.c.id).in_(wanted))
    return set(conn.execute(query).scalars())


def ensure_name_free(conn: Connection, name: str, *, besides: str | None = None) -> None:
    """Raise ConflictError `worker_name_taken` if an entry other than `besides` has the name."""
    query = select(workers.c.id).where(
        workers.c.name == name, workers.c.superseded_by.is_(None), workers.c.approval.is_(None)
    )
    taken = [row.id for row in conn.execute(query) if row.id != besides]
    if taken:
        raise ConflictError(
            "worker_name_taken",
            f"Worker '{taken[0]}' has the name '{name}' already.",
            hint="Choose another name, or rename or delete that Worker.",
        )


def replace_worker(tx: WriteTx, record: WorkerRecord) -> None:
    """Replace an entry; raises NotFoundError if it is gone."""
    if tx.conn.execute(update(workers).where(workers.c.id == record.id).values(to_row(record))).rowcount != 1:
        raise NotFoundError("worker", record.id)
    tx.changed(WorkerChanged(record.id, record))


def replace_workers(tx: WriteTx, records: Sequence[WorkerRecord]) -> None:
    """Replace many entries at once; those that no longer exist are skipped."""
    if not records:
        return
    rows = [to_row(record) | {"worker": record.id} for record in records]
    columns: dict[str, Any] = {name: bindparam(name) for name in rows[0] if name not in {"id", "worker"}}
    tx.conn.execute(update(workers).where(workers.c.id == bindparam("worker")).values(columns), rows)
    for record in records:
        tx.changed(WorkerChanged(record.id, record))


def set_signs_for(tx: WriteTx, issuers: Mapping[str, str]) -> None:
    """Record the issuer for which Workers sign, by ID; deleted Workers are left out."""
    for worker_id, issuer in issuers.items():
        record = find_worker(tx.conn, worker_id)
        if record is not None and record.signs_for != issuer:
            replace_worker(tx, msgspec.structs.replace(record, signs_for=issuer))


def delete_worker(tx: WriteTx, worker_id: str) -> WorkerRecord:
    """
    Remove an entry with its activity, and its ID from the keys issued for it and the resources that name it.

    A key issued only for this Worker then works for no Worker: a new Worker with the old ID must not inherit it.

    Raises:
        NotFoundError: No such Worker.
    """
    record = get_worker(tx.conn, worker_id)
    delete_workers(tx, [worker_id])
    return record


def delete_workers(tx: WriteTx, worker_ids: Sequence[str]) -> None:
    """Do the same for many entries at once; those that no longer exist are skipped."""
    presence_removed: list[str] = []
    for start in range(0, len(worker_ids), _BATCH):
        batch = worker_ids[start : start + _BATCH]
        connected = delete(presence).where(presence.c.worker_id.in_(batch)).returning(presence.c.worker_id)
        presence_removed += tx.conn.execute(connected).scalars()
        tx.conn.execute(delete(workers).where(workers.c.id.in_(batch)))
        api_keys.remove_workers(tx, batch)
    resources.remove_workers(tx, worker_ids)
    for worker_id in worker_ids:
        tx.changed(WorkerChanged(worker_id, None))
    # The Server to which it was connected will find no row to remove: without this, its peers would count it as connected for ever.
    for worker_id in presence_removed:
        tx.changed(PresenceChanged(worker_id, None))


def find_worker(conn: Connection, worker_id: str) -> WorkerRecord | None:
    """Return the entry with this ID, or None."""
    return _one(conn, workers.c.id == worker_id)


def get_worker(conn: Connection, worker_id: str) -> WorkerRecord:
    """Return the entry with this ID; raises NotFoundError."""
    record = find_worker(conn, worker_id)
    if record is None:
        same_name = find_live_by_name(conn, worker_id)
        hint = (
            ""
            if same_name is None
            else f"A Worker is found by its ID: '{worker_id}' has the ID {same_name.id}."
        )
        raise NotFoundError("worker", worker_id, hint=hint)
    return record


def get_worker_in(conn: Connection, worker_id: str, scope: Scope) -> WorkerRecord:
    """
    Return the entry with this ID, if it is within a scope.

    Raises:
        NotFoundError: There is no such Worker, or it is outside the scope: the answer is the same, and names no other Worker.
    """
    if not scope.is_limited:
        return get_worker(conn, worker_id)
    record = find_worker(conn, worker_id)
    if record is None or not scope.covers_worker(record):
        raise NotFoundError("worker", worker_id)
    return record


def find_by_thumbprint(conn: Connection, thumbprint: str) -> WorkerRecord | None:
    """Return the entry with this identity key, current or next; or None."""
    return _one(conn, (workers.c.thumbprint == thumbprint) | (workers.c.next_thumbprint == thumbprint))


def find_by_thumbprints(conn: Connection, thumbprints: Collection[str]) -> dict[str, WorkerRecord]:
    """Return the entries with these identity keys, current or next, by thumbprint; unknown ones are left out."""
    by_next = _in_batches(conn, workers.c.next_thumbprint, thumbprints)
    found = _in_batches(conn, workers.c.thumbprint, thumbprints)
    return {str(entry.next_thumbprint): entry for entry in by_next} | {
        str(entry.thumbprint): entry for entry in found
    }


def find_live_by_name(conn: Connection, name: str) -> WorkerRecord | None:
    """
    Return the entry that has a name: the latest, if the policy allowed several.

    A superseded or unapproved entry does not count.
    """
    return find_live_by_names(conn, [name]).get(name)


def find_live_by_names(conn: Connection, names: Collection[str]) -> dict[str, WorkerRecord]:
    """Return the entries that have these names, as `find_live_by_name` does; unused names are left out."""
    live = [
        entry
        for entry in _in_batches(conn, workers.c.name, names)
        if entry.superseded_by is None and entry.approval is None
    ]
    live.sort(key=lambda entry: entry.id)
    live.sort(key=lambda entry: entry.created_at, reverse=True)
    # Of several, the first is the one to return.
    return {entry.name: entry for entry in reversed(live)}


def find_workers(conn: Connection, worker_ids: Collection[str]) -> dict[str, WorkerRecord]:
    """Return the entries with these IDs, by ID; unknown ones are left out."""
    return {entry.id: entry for entry in _in_batches(conn, workers.c.id, worker_ids)}


def find_workers_in(conn: Connection, worker_ids: Collection[str], scope: Scope) -> dict[str, WorkerRecord]:
    """Return the entries with these IDs within a scope, by ID; others are left out."""
    found = find_workers(conn, worker_ids)
    return {worker_id: record for worker_id, record in found.items() if scope.covers_worker(record)}


def rename_fingerprint(tx: WriteTx, old: str, new: str) -> int:
    """Change the fingerprint of the enrollment key with which Workers enrolled; return how many there are."""
    statement = update(workers).where(workers.c.enrolled_with == old).values(enrolled_with=new)
    return tx.conn.execute(statement).rowcount


def ids_enrolled_with(
    conn: Connection, fingerprints: Collection[str], *, since: datetime | None
) -> list[str]:
    """Return the IDs of the Workers enrolled with keys of these fingerprints, optionally since a time."""
    query = select(workers.c.id).where(workers.c.enrolled_with.in_(sorted(fingerprints)))
    if since is not None:
        query = query.where(workers.c.created_at >= since)
    return list(conn.execute(query).scalars())


def count_pending(conn: Connection) -> dict[str, int]:
    """Return how many Workers wait for approval, by the fingerprint of their enrollment key."""
    query = select(workers.c.enrolled_with, func.count().label("number"))
    pending = query.where(workers.c.approval == Approval.PENDING.value).group_by(workers.c.enrolled_with)
    return {row.enrolled_with: row.number for row in conn.execute(pending)}


def find_by_approval(
    conn: Connection, *approvals: Approval, since_before: datetime, limit: int
) -> list[WorkerRecord]:
    """Return Workers that have been in one of these states since before a time, the oldest first."""
    query = select(workers).where(
        workers.c.approval.in_([approval.value for approval in approvals]),
        workers.c.approval_since < since_before,
    )
    return [_record(row) for row in conn.execute(query.order_by(workers.c.approval_since).limit(limit))]


def all_workers(conn: Connection) -> Iterator[WorkerRecord]:
    """Iterate over every entry; entries with the same labels share them, so they must not be changed in place."""
    known: dict[tuple[tuple[str, str], ...], Labels] = {}
    for record in from_rows(WorkerRecord, conn.execute(select(workers))):
        labels = known.get(key := tuple(record.labels.items()))
        if labels is not None:
            # The dictionary and its texts are half the size of an entry. The record is not shared with anyone yet.
            msgspec.structs.force_setattr(record, "labels", labels)
        elif len(known) < _MAX_SHARED_LABELS:
            known[key] = record.labels
        yield record


def find_inactive(conn: Connection, strategy: Strategy, *, since: datetime, limit: int) -> list[WorkerRecord]:
    """
    Return Workers of a strategy that have not been added, connected or got a token since a time, in order of ID.

    Archived and unapproved Workers are left out, and so are disabled ones: an operator made a decision about them.
    """
    query = select(workers).where(
        workers.c.strategy == strategy.value,
        workers.c.archived_at.is_(None),
        workers.c.approval.is_(None),
        workers.c.enabled.is_(True),
        workers.c.created_at < since,
        ~_exists(worker_traces.c.worker_id, worker_traces.c.last_seen_at >= since),
        ~_exists(token_origins.c.worker_id, token_origins.c.last_at >= since),
    )
    return [_record(row) for row in conn.execute(query.order_by(workers.c.id).limit(limit))]


def find_absent(
    conn: Connection, worker_ids: Collection[str], *, seen_since: datetime, token_since: datetime
) -> list[WorkerRecord]:
    """
    Return those of these Workers that are not connected anywhere and have been absent since the given times.

    Disabled Workers are left out: an operator made a decision about them.

    Args:
        conn: The database.
        worker_ids: At most as many as fit into one statement.
        seen_since: They have not been connected or added since then.
        token_since: They have got no token since then.
    """
    query = select(workers).where(
        workers.c.id.in_(list(worker_ids)),
        workers.c.enabled.is_(True),
        workers.c.created_at < seen_since,
        ~_exists(worker_traces.c.worker_id, worker_traces.c.last_seen_at >= seen_since),
        ~_exists(token_origins.c.worker_id, token_origins.c.last_at >= token_since),
        ~_exists(presence.c.worker_id, true()),
    )
    return [_record(row) for row in conn.execute(query)]


def _exists(worker_id: Column[Any], condition: ColumnElement[bool]) -> ColumnElement[bool]:
    return select(worker_id).where(worker_id == workers.c.id, condition).exists()


def _in_batches(conn: Connection, column: Column[Any], values: Collection[str]) -> list[WorkerRecord]:
    wanted = list(values)
    found: list[WorkerRecord] = []
    for start in range(0, len(wanted), _BATCH):
        rows = conn.execute(select(workers).where(column.in_(wanted[start : start + _BATCH])))
        found += map(_record, rows)
    return found


def _one(conn: Connection, condition: ColumnElement[bool]) -> WorkerRecord | None:
    row = conn.execute(select(workers).where(condition)).first()
    return None if row is None else _record(row)


def _record(row: Row[tuple[object, ...]]) -> WorkerRecord:
    return from_row(WorkerRecord, row)
