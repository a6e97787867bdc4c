"""Table of directories refused as copies of a Worker's identity."""

from collections.abc import Collection
from datetime import datetime

from sqlalchemy import ColumnElement, Connection, delete, select, update

from lyftdata.core.errors import NotFoundError
from lyftdata.core.records import CopyDecision, IdentityCopyRecord
from lyftdata.store.dialects import dialect
from lyftdata.store.rows import from_row, to_row
from lyftdata.store.schema import identity_copies
from lyftdata.store.writer.transaction import WriteTx

KEPT_OF_A_WORKER = 8
_BATCH = 500


def record_copy(tx: WriteTx, record: IdentityCopyRecord) -> None:
    """
    Record a copy; only the last few of each Worker are kept.

    An undecided one with the same host and address is replaced: that copy lost its reference, for example in a crash.
    """
    table = identity_copies
    same = (
        (table.c.worker_id == record.worker_id)
        & (table.c.host == record.host)
        & (table.c.address == record.address)
        & table.c.decision.is_(None)
    )
    before = tx.conn.execute(select(table.c.found_at).where(same).order_by(table.c.found_at)).first()
    tx.conn.execute(delete(table).where(same))
    row = to_row(record) | ({} if before is None else {"found_at": before.found_at})
    dialect.upsert(tx.conn, table, [row])
    mine = select(table.c.reference).where(table.c.worker_id == record.worker_id)
    surplus = mine.order_by(table.c.last_at.desc(), table.c.reference).offset(KEPT_OF_A_WORKER)
    for reference in list(tx.conn.execute(surplus).scalars()):
        tx.conn.execute(delete(table).where(_is(record.worker_id, reference)))


def touch_copy(tx: WriteTx, worker_id: str, reference: str, *, at: datetime) -> None:
    """Record that a copy has asked again."""
    tx.conn.execute(update(identity_copies).where(_is(worker_id, reference)).values(last_at=at))


def find_copy(conn: Connection, worker_id: str, reference: str) -> IdentityCopyRecord | None:
    """Return a copy of a Worker's identity, or None."""
    row = conn.execute(select(identity_copies).where(_is(worker_id, reference))).first()
    return None if row is None else from_row(IdentityCopyRecord, row)


def get_copy(conn: Connection, worker_id: str, reference: str) -> IdentityCopyRecord:
    """Return a copy of a Worker's identity; raises NotFoundError."""
    record = find_copy(conn, worker_id, reference)
    if record is None:
        raise NotFoundError(
            "copy",
            reference,
            hint=f"A copy keeps the reference of its first refusal: `lyftdata workers show {worker_id}` lists it.",
        )
    return record


def list_copies(conn: Connection, worker_ids: Collection[str]) -> dict[str, list[IdentityCopyRecord]]:
    """Return the copies of these Workers' identities by Worker, the latest first; Workers without any are left out."""
    table = identity_copies
    found: dict[str, list[IdentityCopyRecord]] = {}
    wanted = list(worker_ids)
    for start in range(0, len(wanted), _BATCH):
        query = select(table).where(table.c.worker_id.in_(wanted[start : start + _BATCH]))
        for row in conn.execute(query.order_by(table.c.last_at.desc(), table.c.reference)):
            found.setdefault(row.worker_id, []).append(from_row(IdentityCopyRecord, row))
    return found


def list_undecided(conn: Connection, *, limit: int) -> list[IdentityCopyRecord]:
    """Return the undecided copies, the latest first."""
    table = identity_copies
    query = select(table).where(table.c.decision.is_(None)).order_by(table.c.last_at.desc()).limit(limit)
    return [from_row(IdentityCopyRecord, row) for row in conn.execute(query)]


def decide_copy(
    tx: WriteTx, copy: IdentityCopyRecord, *, decision: CopyDecision, at: datetime, by: str
) -> None:
    """Record a decision; the copy gets it when it asks again."""
    decided = {"decision": decision.value, "decided_at": at, "decided_by": by}
    tx.conn.execute(update(identity_copies).where(_is(copy.worker_id, copy.reference)).values(decided))


def is_decided_as(conn: Connection, copy: IdentityCopyRecord) -> bool:
    """Return whether the decision about a copy is still the one read before: an operator may have decided in between."""
    found = find_copy(conn, copy.worker_id, copy.reference)
    return found is not None and (found.decision, found.decided_at) == (copy.decision, copy.decided_at)


def withdraw_decision(tx: WriteTx, copy: IdentityCopyRecord) -> None:
    """Make a copy undecided again: it has not used the decision in time."""
    undecided = {"decision": None, "decided_at": None, "decided_by": None}
    tx.conn.execute(update(identity_copies).where(_is(copy.worker_id, copy.reference)).values(undecided))


def _is(worker_id: str, reference: str) -> ColumnElement[bool]:
    return (identity_copies.c.worker_id == worker_id) & (identity_copies.c.reference == reference)
