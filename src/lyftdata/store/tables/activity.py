"""Table of Workers' activity: when and from where they were last seen, and with which key."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, bindparam, select, update

from lyftdata.core.query_values import fold
from lyftdata.core.records import WorkerTraces
from lyftdata.store.dialects import dialect
from lyftdata.store.rows import from_row, to_row
from lyftdata.store.schema import token_origins, worker_traces, workers
from lyftdata.store.writer.transaction import WriteTx

_BATCH = 500
_MAX_FACT = 128


def upsert_traces(tx: WriteTx, traces: Sequence[WorkerTraces]) -> None:
    """Write activity records, replacing existing ones; those of deleted Workers are left out."""
    for start in range(0, len(traces), _BATCH):
        batch = traces[start : start + _BATCH]
        query = select(workers.c.id).where(workers.c.id.in_([trace.worker_id for trace in batch]))
        alive = set(tx.conn.execute(query).scalars())
        rows = [_row(trace) for trace in batch if trace.worker_id in alive]
        if rows:
            dialect.upsert(tx.conn, worker_traces, rows)


def _row(trace: WorkerTraces) -> dict[str, Any]:
    # Folding case can make a text longer.
    hostname = fold(trace.host.get("hostname", ""))[:_MAX_FACT] or None
    version = trace.host.get("agent_version", "")[:_MAX_FACT] or None
    return {**to_row(trace), "hostname": hostname, "agent_version": version}


def touch_last_seen(tx: WriteTx, seen: Mapping[str, datetime]) -> None:
    """Record when Workers were last connected, by ID; the rest of their activity stays."""
    if not seen:
        return
    statement = update(worker_traces).where(worker_traces.c.worker_id == bindparam("id"))
    rows = [{"id": worker_id, "at": at} for worker_id, at in seen.items()]
    dialect.execute_many(tx.conn, statement.values(last_seen_at=bindparam("at")), rows)


def find_traces(conn: Connection, worker_ids: Collection[str]) -> dict[str, WorkerTraces]:
    """Return the activity of these Workers, by ID; Workers without any are left out."""
    found: dict[str, WorkerTraces] = {}
    wanted = list(worker_ids)
    for start in range(0, len(wanted), _BATCH):
        query = select(worker_traces).where(worker_traces.c.worker_id.in_(wanted[start : start + _BATCH]))
        found |= {row.worker_id: from_row(WorkerTraces, row) for row in conn.execute(query)}
    return found


def ids_by_api_key(conn: Connection, name: str, *, seen_since: datetime | None = None) -> set[str]:
    """Return the IDs of the Workers whose last API key has this name, optionally only those seen since a time."""
    query = select(worker_traces.c.worker_id).where(worker_traces.c.api_key_name == name)
    if seen_since is not None:
        query = query.where(worker_traces.c.last_seen_at >= seen_since)
    return set(conn.execute(query).scalars())


def active_ids(conn: Connection, *, since: datetime) -> set[str]:
    """Return the IDs of Workers that have been connected or got a token since a time."""
    seen = select(worker_traces.c.worker_id).where(worker_traces.c.last_seen_at >= since)
    given_a_token = select(token_origins.c.worker_id).where(token_origins.c.last_at >= since)
    return set(conn.execute(seen.union(given_a_token)).scalars())


def seen_ids(conn: Connection, *, since: datetime) -> frozenset[str]:
    """Return the IDs of Workers that have been connected since a time."""
    query = select(worker_traces.c.worker_id).where(worker_traces.c.last_seen_at >= since)
    return frozenset(conn.execute(query).scalars())


def last_key_names(conn: Connection, worker_ids: Collection[str]) -> dict[str, str]:
    """Return the name of the API key that these Workers used last, by ID; those that used none are left out."""
    wanted = list(worker_ids)
    found: dict[str, str] = {}
    for start in range(0, len(wanted), _BATCH):
        query = select(worker_traces.c.worker_id, worker_traces.c.api_key_name).where(
            worker_traces.c.worker_id.in_(wanted[start : start + _BATCH]),
            worker_traces.c.api_key_name.is_not(None),
        )
        found.update((row[0], row[1]) for row in conn.execute(query))
    return found


def last_used(conn: Connection, worker_ids: Collection[str]) -> dict[str, datetime]:
    """Return when these Workers were last connected or got a token, by ID; those that never did are left out."""
    wanted = list(worker_ids)
    found: dict[str, datetime] = {}
    for start in range(0, len(wanted), _BATCH):
        batch = wanted[start : start + _BATCH]
        for table, at in (
            (worker_traces, worker_traces.c.last_seen_at),
            (token_origins, token_origins.c.last_at),
        ):
            for worker_id, used_at in conn.execute(
                select(table.c.worker_id, at).where(table.c.worker_id.in_(batch), at.is_not(None))
            ):
                found[worker_id] = max(used_at, found.get(worker_id, used_at))
    return found


def all_seen_ids(conn: Connection) -> set[str]:
    """Return the IDs of Workers that have ever been connected."""
    query = select(worker_traces.c.worker_id).where(worker_traces.c.last_seen_at.is_not(None))
    return set(conn.execute(query).scalars())
