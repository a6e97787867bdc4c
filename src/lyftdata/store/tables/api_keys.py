"""Table of API keys: digests, never keys."""

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from datetime import datetime
from itertools import groupby
from operator import itemgetter

import msgspec
from sqlalchemy import ColumnElement, Connection, bindparam, delete, insert, or_, select, update
from sqlalchemy.exc import IntegrityError

from lyftdata.core.errors import ConflictError
from lyftdata.core.key_generations import end_generations
from lyftdata.core.records import ApiKeyRecord
from lyftdata.store.changes import ApiKeyChanged
from lyftdata.store.dialects import dialect
from lyftdata.store.rows import from_row, from_rows, to_row
from lyftdata.store.schema import api_key_workers, api_keys
from lyftdata.store.writer.transaction import WriteTx

# A statement can have only so many values.
_BATCH = 500


def insert_api_key(tx: WriteTx, record: ApiKeyRecord) -> None:
    """
    Add a key's first generation.

    Raises:
        ConflictError: `api_key_name_taken`, even if the other key is revoked: a name in the audit log must mean one key.
    """
    if find_by_name(tx.conn, record.name):
        raise ConflictError(
            "api_key_name_taken",
            f"There is an API key named '{record.name}' already.",
            hint="Choose another name, or make its next generation with `lyftdata api-key rotate`.",
        )
    _insert(tx, record)


def rotate_api_key(tx: WriteTx, record: ApiKeyRecord, *, previous_expire_at: datetime) -> None:
    """Add a key's next generation; older ones end at `previous_expire_at` unless they end before."""
    older = find_by_name(tx.conn, record.name)
    for ended in end_generations(older, rotated_at=record.created_at, ends_at=previous_expire_at).changed:
        _replace(tx, ended)
    _insert(tx, record)


def end_previous(tx: WriteTx, name: str, now: datetime) -> list[str]:
    """
    End every older generation of a key now; return the public ids of those that were valid until now.

    Those that had already ended are published again: another caller may have ended them, and this Server may not have applied that yet.
    """
    ended = end_generations(find_by_name(tx.conn, name)[:-1], rotated_at=now, ends_at=now)
    for record in ended.changed:
        _replace(tx, record)
    for record in ended.unchanged:
        tx.changed(ApiKeyChanged(record.public_id, record))
    return [record.public_id for record in ended.changed]


def revoke_api_key(tx: WriteTx, name: str, now: datetime) -> list[ApiKeyRecord]:
    """Revoke every generation of a key and return them in their new state."""
    for record in find_by_name(tx.conn, name):
        if record.revoked_at is None:
            _replace(tx, msgspec.structs.replace(record, revoked_at=now))
    return find_by_name(tx.conn, name)


def allow_workers(tx: WriteTx, name: str, worker_ids: Collection[str]) -> list[ApiKeyRecord]:
    """Add Workers to every generation of a key that is limited to some Workers; return the key in its new state."""
    for record in find_by_name(tx.conn, name):
        added = sorted(set(worker_ids).difference(record.worker_ids))
        if added and not record.for_all_workers:
            rows = [{"public_id": record.public_id, "worker_id": worker_id} for worker_id in added]
            tx.conn.execute(insert(api_key_workers), rows)
            wider = msgspec.structs.replace(record, worker_ids=tuple(sorted([*record.worker_ids, *added])))
            tx.changed(ApiKeyChanged(record.public_id, wider))
    return find_by_name(tx.conn, name)


def remove_workers(tx: WriteTx, worker_ids: Collection[str]) -> None:
    """Remove Workers' IDs, at most one batch of them, from every key issued for them."""
    theirs = api_key_workers.c.worker_id.in_(sorted(worker_ids))
    public_ids = sorted(set(tx.conn.execute(select(api_key_workers.c.public_id).where(theirs)).scalars()))
    tx.conn.execute(delete(api_key_workers).where(theirs))
    for start in range(0, len(public_ids), _BATCH):
        for record in _select(tx.conn, api_keys.c.public_id.in_(public_ids[start : start + _BATCH])):
            tx.changed(ApiKeyChanged(record.public_id, record))


def touch_last_used(tx: WriteTx, uses: Mapping[str, tuple[datetime, str]]) -> None:
    """Record when and by whom keys were last used, by public id; a later use recorded by another Server is kept."""
    if not uses:
        return
    is_later = or_(api_keys.c.last_used_at.is_(None), api_keys.c.last_used_at < bindparam("at"))
    statement = (
        update(api_keys)
        .where(api_keys.c.public_id == bindparam("key"), is_later)
        .values(last_used_at=bindparam("at"), last_used_by=bindparam("by"))
    )
    rows = [{"key": key, "at": at, "by": by} for key, (at, by) in uses.items()]
    dialect.execute_many(tx.conn, statement, rows)


def find_by_name(conn: Connection, name: str) -> list[ApiKeyRecord]:
    """Return every generation of a key, the oldest first; empty if there is no such key."""
    return sorted(_select(conn, api_keys.c.name == name), key=lambda record: record.generation)


def all_api_keys(conn: Connection) -> Iterator[ApiKeyRecord]:
    """Iterate over every generation of every key."""
    scopes = {
        public_id: tuple(sorted(worker_id for _, worker_id in rows))
        for public_id, rows in groupby(
            conn.execute(select(api_key_workers).order_by(api_key_workers.c.public_id)), itemgetter(0)
        )
    }
    for record in from_rows(ApiKeyRecord, conn.execute(select(api_keys))):
        scope = scopes.get(record.public_id)
        yield record if scope is None else msgspec.structs.replace(record, worker_ids=scope)


def find_api_keys(conn: Connection, public_ids: Collection[str]) -> dict[str, ApiKeyRecord]:
    """Return the keys with these public ids, by public id; unknown ones are left out."""
    wanted = list(public_ids)
    found: dict[str, ApiKeyRecord] = {}
    for start in range(0, len(wanted), _BATCH):
        part = api_keys.c.public_id.in_(wanted[start : start + _BATCH])
        found |= {record.public_id: record for record in _select(conn, part)}
    return found


def last_used(conn: Connection, public_ids: Collection[str]) -> dict[str, tuple[datetime, str]]:
    """Return when and by whom these keys were last used; unused ones are left out."""
    query = select(api_keys.c.public_id, api_keys.c.last_used_at, api_keys.c.last_used_by)
    query = query.where(api_keys.c.last_used_at.is_not(None))
    wanted = list(public_ids)
    found: dict[str, tuple[datetime, str]] = {}
    for start in range(0, len(wanted), _BATCH):
        part = query.where(api_keys.c.public_id.in_(wanted[start : start + _BATCH]))
        found |= {row.public_id: (row.last_used_at, row.last_used_by) for row in conn.execute(part)}
    return found


def ids_by_last_use(conn: Connection) -> list[str]:
    """
    Return the public IDs of all keys that were used, the one that was not for the longest time first.

    One scan and a sort: an index would be written with every use, and a page is rarely sorted by it.
    """
    query = select(api_keys.c.public_id).where(api_keys.c.last_used_at.is_not(None))
    return list(conn.execute(query.order_by(api_keys.c.last_used_at, api_keys.c.public_id)).scalars())


def _select(conn: Connection, condition: ColumnElement[bool]) -> Iterator[ApiKeyRecord]:
    rows = conn.execute(select(api_keys).where(condition)).all()
    scopes: dict[str, set[str]] = defaultdict(set)
    scoped = [row.public_id for row in rows if not row.for_all_workers]
    for start in range(0, len(scoped), _BATCH):
        part = api_key_workers.c.public_id.in_(scoped[start : start + _BATCH])
        for public_id, worker_id in conn.execute(select(api_key_workers).where(part)):
            scopes[public_id].add(worker_id)
    for row in rows:
        yield from_row(ApiKeyRecord, row, worker_ids=tuple(sorted(scopes[row.public_id])))


def _insert(tx: WriteTx, record: ApiKeyRecord) -> None:
    row = to_row(record)
    worker_ids = row.pop("worker_ids")
    try:
        tx.conn.execute(insert(api_keys), row)
    except IntegrityError as error:
        raise ConflictError(
            "api_key_name_taken", f"The API key '{record.name}' was issued or rotated at this very moment."
        ) from error
    if worker_ids:
        scope = [{"public_id": record.public_id, "worker_id": worker_id} for worker_id in worker_ids]
        tx.conn.execute(insert(api_key_workers), scope)
    tx.changed(ApiKeyChanged(record.public_id, record))


def _replace(tx: WriteTx, record: ApiKeyRecord) -> None:
    """Update the columns of a key that may change: its dates."""
    statement = update(api_keys).where(api_keys.c.public_id == record.public_id)
    tx.conn.execute(
        statement.values(
            expires_at=record.expires_at, revoked_at=record.revoked_at, rotated_at=record.rotated_at
        )
    )
    tx.changed(ApiKeyChanged(record.public_id, record))
