"""Table of the signed checkpoints of the audit log; a row must not be trusted until its signature is verified."""

from collections.abc import Iterator

from sqlalchemy import Connection, delete, select, update

from lyftdata.core.audit_checkpoints import (
    Checkpoint,
    CheckpointError,
    add_signature,
    read_checkpoint,
    split_peaks,
    verify_checkpoint,
)
from lyftdata.core.merkle_tree import CompactRange
from lyftdata.core.records import CheckpointRecord
from lyftdata.store.dialects import dialect
from lyftdata.store.rows import from_row, to_row
from lyftdata.store.schema import audit_checkpoints
from lyftdata.store.writer.transaction import WriteTx

_AT_ONCE = 500
_MAX_TRIED = 20
_MAX_NOTE_LENGTH = 1_024


def add_checkpoint(tx: WriteTx, record: CheckpointRecord) -> Checkpoint:
    """Store a checkpoint, unless there is one of that size; return what the stored one says."""
    dialect.insert_ignoring_conflict(tx.conn, audit_checkpoints, to_row(record))
    note = tx.conn.execute(
        select(audit_checkpoints.c.note).where(audit_checkpoints.c.size == record.size)
    ).scalar_one()
    return read_checkpoint(str(note))


def last_checkpoint(conn: Connection) -> CheckpointRecord | None:
    """Return the largest checkpoint, None if there is none; its signature is not verified."""
    row = conn.execute(select(audit_checkpoints).order_by(audit_checkpoints.c.size.desc()).limit(1)).first()
    return None if row is None else from_row(CheckpointRecord, row)


def sign_all_again(tx: WriteTx, *, audit_key: bytes) -> int:
    """
    Add a signature by another key to every checkpoint; return how many there are. The caller has verified them.

    Bounded: a note that gets too long keeps its first two signatures, which are those of a handover, or fewer, and the new one.
    """
    table = audit_checkpoints
    count = 0
    for record in all_checkpoints(tx.conn):
        signed = (add_signature(record.note, audit_key=audit_key, keep=keep) for keep in (2, 1, 0))
        note = next(note for note in signed if len(note) <= _MAX_NOTE_LENGTH)
        tx.conn.execute(update(table).where(table.c.size == record.size).values(note=note))
        count += 1
    return count


def remove_before(tx: WriteTx, size: int) -> None:
    """Remove the checkpoints of fewer than `size` events."""
    tx.conn.execute(delete(audit_checkpoints).where(audit_checkpoints.c.size < size))


def last_in(conn: Connection, *, after: int, up_to: int) -> CheckpointRecord | None:
    """Return the largest checkpoint of more than `after` and at most `up_to` events; its signature is not verified."""
    query = (
        select(audit_checkpoints)
        .where(audit_checkpoints.c.size > after, audit_checkpoints.c.size <= up_to)
        .order_by(audit_checkpoints.c.size.desc())
        .limit(1)
    )
    row = conn.execute(query).first()
    return None if row is None else from_row(CheckpointRecord, row)


def all_checkpoints(conn: Connection, *, from_size: int = 0) -> Iterator[CheckpointRecord]:
    """Yield every checkpoint of at least `from_size` events, the smallest first."""
    after = from_size - 1
    while True:
        query = (
            select(audit_checkpoints)
            .where(audit_checkpoints.c.size > after)
            .order_by(audit_checkpoints.c.size)
            .limit(_AT_ONCE)
        )
        found = [from_row(CheckpointRecord, row) for row in conn.execute(query)]
        yield from found
        if len(found) < _AT_ONCE:
            return
        after = found[-1].size


def last_tree(conn: Connection, *, audit_key: bytes, size: int) -> CompactRange:
    """Return the tree of the largest validly signed checkpoint of at most `size` events; empty if there is none."""
    query = (
        select(audit_checkpoints)
        .where(audit_checkpoints.c.size <= size)
        .order_by(audit_checkpoints.c.size.desc())
        .limit(_MAX_TRIED)
    )
    for row in conn.execute(query):
        try:
            return signed_tree(from_row(CheckpointRecord, row), audit_key=audit_key)
        except CheckpointError:
            # Tampered with; `verify` reports it. The tree can be computed from an earlier checkpoint.
            continue
    return CompactRange()


def first_covering(conn: Connection, number: int, *, audit_key: bytes) -> CheckpointRecord | None:
    """Return the first validly signed checkpoint that covers an event, None if there is none."""
    query = (
        select(audit_checkpoints)
        .where(audit_checkpoints.c.size >= number)
        .order_by(audit_checkpoints.c.size)
        .limit(_MAX_TRIED)
    )
    for row in conn.execute(query):
        record = from_row(CheckpointRecord, row)
        try:
            signed_tree(record, audit_key=audit_key)
        except CheckpointError:
            continue
        return record
    return None


def signed_tree(record: CheckpointRecord, *, audit_key: bytes) -> CompactRange:
    """
    Return the tree of a stored checkpoint.

    Raises:
        CheckpointError: It is not signed by the key of this log, or its subtrees are not those that were signed.
    """
    checkpoint = verify_checkpoint(record.note, audit_key=audit_key)
    try:
        tree = split_peaks(record.size, record.peaks)
    except ValueError as error:
        raise CheckpointError("The subtrees of a checkpoint were changed.") from error
    if (checkpoint.size, checkpoint.root) != (tree.size, tree.root()):
        raise CheckpointError("The subtrees of a checkpoint are not those that were signed.")
    return tree
