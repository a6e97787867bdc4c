"""Table of the requests that one operator makes and another confirms."""

from datetime import datetime

from sqlalchemy import Connection, delete, func, insert, select, update

from lyftdata.core.change_requests import ChangeRequestRecord, RequestState
from lyftdata.store.rows import from_row, to_row
from lyftdata.store.schema import change_requests
from lyftdata.store.writer.transaction import WriteTx

_table = change_requests.c


def insert_request(tx: WriteTx, record: ChangeRequestRecord) -> None:
    """Add a request."""
    tx.conn.execute(insert(change_requests), to_row(record))


def decide_request(
    tx: WriteTx, request_id: str, state: RequestState, *, by: str, note: str, at: datetime
) -> bool:
    """
    End a request that is pending; return whether it was.

    Race: one statement, so that of two decisions at once, even at two Servers, only one counts.
    """
    done = tx.conn.execute(
        update(change_requests)
        .where((_table.id == request_id) & (_table.state == RequestState.PENDING.value))
        .values(state=state.value, decided_by=by, decided_at=at, note=note)
    )
    return done.rowcount == 1


def give_reason(tx: WriteTx, request_id: str, reason: str) -> None:
    """Set the reason of a request."""
    tx.conn.execute(update(change_requests).where(_table.id == request_id).values(reason=reason))


def delete_decided_before(tx: WriteTx, at: datetime) -> None:
    """Delete requests that were decided before a time; the audit log keeps them longer."""
    tx.conn.execute(delete(change_requests).where(_table.decided_at < at))


def find_request(conn: Connection, request_id: str) -> ChangeRequestRecord | None:
    """Return the request with this ID, or None."""
    row = conn.execute(select(change_requests).where(_table.id == request_id)).first()
    return None if row is None else from_row(ChangeRequestRecord, row)


def find_pending_of(conn: Connection, operator: str, operation: str) -> list[ChangeRequestRecord]:
    """Return the pending requests of an operator for exactly this operation."""
    query = select(change_requests).where(
        _table.state == RequestState.PENDING.value, _table.operator == operator, _table.operation == operation
    )
    return [from_row(ChangeRequestRecord, row) for row in conn.execute(query)]


def count_pending(conn: Connection, operator: str | None = None) -> int:
    """Return how many requests of one operator, or of all, are pending."""
    query = (
        select(func.count()).select_from(change_requests).where(_table.state == RequestState.PENDING.value)
    )
    if operator is not None:
        query = query.where(_table.operator == operator)
    return conn.execute(query).scalar_one()


def count_made(conn: Connection, operator: str, *, since: datetime) -> int:
    """Return how many requests an operator has made since a time, in any state."""
    query = select(func.count()).select_from(change_requests)
    query = query.where((_table.operator == operator) & (_table.requested_at > since))
    return conn.execute(query).scalar_one()


def has_decided_before(conn: Connection, at: datetime) -> bool:
    """Return whether `delete_decided_before` would delete anything."""
    return conn.execute(select(_table.id).where(_table.decided_at < at).limit(1)).first() is not None


def all_pending(conn: Connection) -> list[ChangeRequestRecord]:
    """Return the requests stored as pending, the oldest first."""
    query = (
        select(change_requests)
        .where(_table.state == RequestState.PENDING.value)
        .order_by(_table.requested_at, _table.id)
    )
    return [from_row(ChangeRequestRecord, row) for row in conn.execute(query)]


def list_decided(conn: Connection, *, limit: int) -> list[ChangeRequestRecord]:
    """Return decided requests, the latest first."""
    query = select(change_requests).where(_table.state != RequestState.PENDING.value)
    query = query.order_by(_table.requested_at.desc(), _table.id).limit(limit)
    return [from_row(ChangeRequestRecord, row) for row in conn.execute(query)]
