"""Enrollment keys issued by operators: public halves, rules, and how often each was used, also against its rules."""

from collections.abc import Collection, Iterator
from datetime import datetime
from typing import NamedTuple

import msgspec
from sqlalchemy import ColumnElement, Connection, insert, or_, select, true, update
from sqlalchemy.exc import IntegrityError

from lyftdata.core.errors import ConflictError
from lyftdata.core.key_generations import end_generations
from lyftdata.core.records import EnrollmentKeyRecord
from lyftdata.store.changes import EnrollmentKeyChanged
from lyftdata.store.rows import from_row, to_row
from lyftdata.store.schema import enrollment_keys
from lyftdata.store.writer.transaction import WriteTx

# A statement can have only so many values.
_BATCH = 500


class KeyUses(NamedTuple):
    """How many Workers a key has enrolled, and how many of these its rules would have refused (mode `warn`)."""

    uses: int
    warned: int


def insert_enrollment_key(tx: WriteTx, record: EnrollmentKeyRecord) -> None:
    """
    Add a key's first generation.

    Raises:
        ConflictError: `enrollment_key_name_taken`, even if the other key is revoked: a name in the audit log must mean one key.
    """
    if find_by_name(tx.conn, record.name):
        raise ConflictError(
            "enrollment_key_name_taken",
            f"There is an enrollment key named '{record.name}' already.",
            hint="Choose another name, or make its next generation with `lyftdata enrollment rotate`.",
        )
    _insert(tx, record)


def rotate_enrollment_key(tx: WriteTx, record: EnrollmentKeyRecord, *, previous_expire_at: datetime) -> None:
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
        tx.changed(EnrollmentKeyChanged(record.public_id, record))
    return [record.public_id for record in ended.changed]


def revoke_enrollment_key(tx: WriteTx, name: str, now: datetime) -> None:
    """Revoke every generation of a key; those already revoked are published again."""
    for record in find_by_name(tx.conn, name):
        if record.revoked_at is None:
            _replace(tx, msgspec.structs.replace(record, revoked_at=now))
        else:
            tx.changed(EnrollmentKeyChanged(record.public_id, record))


def spend_use(tx: WriteTx, public_id: str, now: datetime, *, is_warned: bool = False) -> bool:
    """
    Count one use of a key, if it has uses left and is not expired or revoked; return whether that was so.

    A single statement checks and counts, so that of concurrent callers at any Server, only as many pass as there are uses left.

    Args:
        tx: The transaction that creates the entry.
        public_id: Of the key.
        now: Aware UTC time.
        is_warned: Whether the Worker violates a rule of a key in mode `warn`.
    """
    table = enrollment_keys.c
    is_left = (
        (table.public_id == public_id)
        & table.revoked_at.is_(None)
        & or_(table.expires_at.is_(None), table.expires_at > now)
        & or_(table.max_uses.is_(None), table.uses < table.max_uses)
    )
    counted = {"uses": table.uses + 1, "warned": table.warned + int(is_warned)}
    spent = tx.conn.execute(update(enrollment_keys).where(is_left).values(counted))
    if spent.rowcount != 1:
        return False
    # The last use ends the key, and every Server must know: it may decide whether Auto-Enrollment is on.
    record = find_enrollment_key(tx.conn, public_id)
    if record is not None and record.is_used_up:
        tx.changed(EnrollmentKeyChanged(public_id, record))
    return True


def return_use(tx: WriteTx, public_id: str, *, is_warned: bool = False) -> None:
    """Undo a use that `spend_use` has counted in this transaction."""
    table = enrollment_keys
    counted = {"uses": table.c.uses - 1, "warned": table.c.warned - int(is_warned)}
    tx.conn.execute(update(table).where(table.c.public_id == public_id).values(counted))
    record = find_enrollment_key(tx.conn, public_id)
    if record is not None and record.max_uses is not None:
        tx.changed(EnrollmentKeyChanged(public_id, record))


def find_by_name(conn: Connection, name: str) -> list[EnrollmentKeyRecord]:
    """Return every generation of a key, the oldest first; empty if there is no such key."""
    return sorted(_select(conn, enrollment_keys.c.name == name), key=lambda record: record.generation)


def find_enrollment_key(conn: Connection, public_id: str) -> EnrollmentKeyRecord | None:
    """Return the key with this public id, or None."""
    return find_enrollment_keys(conn, [public_id]).get(public_id)


def find_enrollment_keys(conn: Connection, public_ids: Collection[str]) -> dict[str, EnrollmentKeyRecord]:
    """Return the keys with these public ids, by public id; unknown ones are left out."""
    wanted = list(public_ids)
    found: dict[str, EnrollmentKeyRecord] = {}
    for start in range(0, len(wanted), _BATCH):
        part = enrollment_keys.c.public_id.in_(wanted[start : start + _BATCH])
        found |= {record.public_id: record for record in _select(conn, part)}
    return found


def all_enrollment_keys(conn: Connection) -> Iterator[EnrollmentKeyRecord]:
    """Iterate over every generation of every key."""
    return _select(conn, true())


def count_uses(conn: Connection) -> dict[str, KeyUses]:
    """Return how many Workers each key has enrolled, by public id."""
    table = enrollment_keys.c
    query = select(table.public_id, table.uses, table.warned)
    return {row.public_id: KeyUses(row.uses, row.warned) for row in conn.execute(query)}


def _select(conn: Connection, condition: ColumnElement[bool]) -> Iterator[EnrollmentKeyRecord]:
    for row in conn.execute(select(enrollment_keys).where(condition)):
        yield from_row(
            EnrollmentKeyRecord,
            row,
            # Keys issued before modes were introduced have none.
            approve_networks=row.approve_networks or [],
            is_used_up=row.max_uses is not None and row.uses >= row.max_uses,
        )


def _insert(tx: WriteTx, record: EnrollmentKeyRecord) -> None:
    try:
        row = to_row(record)
        # Derived from the number of uses.
        del row["is_used_up"]
        tx.conn.execute(insert(enrollment_keys), row)
    except IntegrityError as error:
        raise ConflictError(
            "enrollment_key_name_taken",
            f"The enrollment key '{record.name}' was issued or rotated at the same moment.",
        ) from error
    tx.changed(EnrollmentKeyChanged(record.public_id, record))


def _replace(tx: WriteTx, record: EnrollmentKeyRecord) -> None:
    """Update the columns of a key that an operator may change: its dates."""
    statement = update(enrollment_keys).where(enrollment_keys.c.public_id == record.public_id)
    tx.conn.execute(
        statement.values(
            expires_at=record.expires_at, revoked_at=record.revoked_at, rotated_at=record.rotated_at
        )
    )
    tx.changed(EnrollmentKeyChanged(record.public_id, record))
