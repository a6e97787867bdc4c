"""Table of the last few sessions of each Worker."""

from collections.abc import Collection, Iterator, Sequence
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, Connection, case, delete, func, select, true, update

from lyftdata.core.records import SessionEnd, WorkerSessionRecord
from lyftdata.store.dialects import dialect
from lyftdata.store.rows import from_row, to_row
from lyftdata.store.schema import worker_sessions, worker_traces, workers
from lyftdata.store.writer.transaction import WriteTx

KEPT_OF_A_WORKER = 20
_BATCH = 400
_CUT_OFF_TOGETHER = timedelta(minutes=1)


def upsert_sessions(tx: WriteTx, sessions: Sequence[WorkerSessionRecord]) -> None:
    """Write sessions, begun or ended, and remove the oldest of those Workers; those of deleted Workers are left out."""
    for start in range(0, len(sessions), _BATCH):
        batch = sessions[start : start + _BATCH]
        ids = sorted({session.worker_id for session in batch})
        alive = set(tx.conn.execute(select(workers.c.id).where(workers.c.id.in_(ids))).scalars())
        rows = [to_row(session) for session in batch if session.worker_id in alive]
        if rows:
            dialect.upsert(tx.conn, worker_sessions, rows)
            _delete_oldest(tx.conn, ids)


def close_open(tx: WriteTx, *, end: str, worker_ids: Collection[str] | None = None) -> None:
    """
    End the sessions that a Server left open and could not end itself: at the time when their Workers were last seen.

    Args:
        tx: The transaction.
        end: Why they have ended.
        worker_ids: The Workers that were connected to it; all, if it was the only Server.
    """
    if worker_ids is None:
        _close(tx, true(), end)
        return
    wanted = sorted(worker_ids)
    for start in range(0, len(wanted), _BATCH):
        _close(tx, worker_sessions.c.worker_id.in_(wanted[start : start + _BATCH]), end)


def last_starts(conn: Connection, worker_ids: Collection[str]) -> dict[str, datetime]:
    """Return when the last session of each of these Workers began; Workers without one are left out."""
    found: dict[str, datetime] = {}
    wanted = sorted(worker_ids)
    for start in range(0, len(wanted), _BATCH):
        of_these = worker_sessions.c.worker_id.in_(wanted[start : start + _BATCH])
        last = func.max(worker_sessions.c.started_at)
        query = (
            select(worker_sessions.c.worker_id, last).where(of_these).group_by(worker_sessions.c.worker_id)
        )
        found.update((row[0], row[1]) for row in conn.execute(query))
    return found


def count_disconnected_at_stop(conn: Connection) -> int:
    """
    Return how many Workers were connected when the last Server of this database stopped or crashed.

    Close what a crashed Server has left open first. Its record of who was connected is at most half a minute old.
    """
    is_cut_off = worker_sessions.c.end.in_([SessionEnd.SERVER_STOPPED.value, SessionEnd.SERVER_CRASHED.value])
    last = conn.execute(select(func.max(worker_sessions.c.ended_at)).where(is_cut_off)).scalar()
    if last is None:
        return 0
    count = select(func.count(worker_sessions.c.worker_id.distinct()))
    then = worker_sessions.c.ended_at >= last - _CUT_OFF_TOGETHER
    return int(conn.execute(count.where(is_cut_off, then)).scalar_one())


def _close(tx: WriteTx, which: ColumnElement[bool], end: str) -> None:
    seen = (
        select(worker_traces.c.last_seen_at)
        .where(worker_traces.c.worker_id == worker_sessions.c.worker_id)
        .scalar_subquery()
    )
    is_later = seen > worker_sessions.c.started_at
    ended_at = case((is_later, seen), else_=worker_sessions.c.started_at)
    tx.conn.execute(
        update(worker_sessions)
        .where(worker_sessions.c.ended_at.is_(None), which)
        .values(ended_at=ended_at, end=end)
    )


def _delete_oldest(conn: Connection, worker_ids: list[str]) -> None:
    newer = worker_sessions.alias()
    oldest_kept = (
        select(newer.c.started_at)
        .where(newer.c.worker_id == worker_sessions.c.worker_id)
        .order_by(newer.c.started_at.desc())
        .limit(1)
        .offset(KEPT_OF_A_WORKER - 1)
        .scalar_subquery()
    )
    conn.execute(
        delete(worker_sessions).where(
            worker_sessions.c.worker_id.in_(worker_ids), worker_sessions.c.started_at < oldest_kept
        )
    )


def list_since(conn: Connection, since: datetime) -> Iterator[WorkerSessionRecord]:
    """Iterate over the sessions of all Workers that lasted until a time or longer, or are still open."""
    ended_at = worker_sessions.c.ended_at
    query = select(worker_sessions).where(ended_at.is_(None) | (ended_at >= since))
    return (from_row(WorkerSessionRecord, row) for row in conn.execute(query))


def ended_since(conn: Connection, since: datetime) -> list[WorkerSessionRecord]:
    """Return the sessions of all Workers that have ended since a time, the earliest first."""
    ended_at = worker_sessions.c.ended_at
    query = select(worker_sessions).where(ended_at >= since).order_by(ended_at)
    return [from_row(WorkerSessionRecord, row) for row in conn.execute(query)]


def list_sessions(conn: Connection, worker_id: str) -> list[WorkerSessionRecord]:
    """Return the last sessions of a Worker, the latest first."""
    query = select(worker_sessions).where(worker_sessions.c.worker_id == worker_id)
    rows = conn.execute(query.order_by(worker_sessions.c.started_at.desc()))
    return [from_row(WorkerSessionRecord, row) for row in rows]
