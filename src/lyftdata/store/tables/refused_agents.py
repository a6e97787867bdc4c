"""Table of agents that the fleet policy refuses, by the family of their Workers' names."""

from collections.abc import Sequence
from datetime import datetime, timedelta

import msgspec
from sqlalchemy import Connection, delete, select

from lyftdata.core.fleet_policy import RefusedAgentRecord
from lyftdata.store.dialects import dialect
from lyftdata.store.rows import from_row, to_row
from lyftdata.store.schema import refused_agents
from lyftdata.store.writer.transaction import WriteTx

MAX_FAMILIES = 1_000
# A restart loop that pauses for longer has ended; the next one is counted from zero.
RESTED_AFTER = timedelta(hours=1)


class RefusedStarts(msgspec.Struct, frozen=True, kw_only=True):
    """
    Refusals of one family that have not been written yet.

    Args:
        latest: The last attempt, with the number of attempts; its `starts` and `entries` are ignored.
        seen: Worker ID and boot ID of the attempts in order, without repetitions.
    """

    latest: RefusedAgentRecord
    seen: Sequence[tuple[str, str]]


def add_starts(tx: WriteTx, refused: Sequence[RefusedStarts]) -> None:
    """Add refusals to the stored counts and delete old rows; another Server may have counted the same program before."""
    known = {record.family: record for record in _find(tx.conn, [one.latest.family for one in refused])}
    rows = [to_row(_joined(known.get(one.latest.family), one)) for one in refused]
    dialect.upsert(tx.conn, refused_agents, rows)
    latest = max(one.latest.last_at for one in refused)
    tx.conn.execute(delete(refused_agents).where(refused_agents.c.last_at < latest - RESTED_AFTER))
    # A flood of names: keep those refused last.
    newest = select(refused_agents.c.family).order_by(refused_agents.c.last_at.desc()).limit(MAX_FAMILIES)
    tx.conn.execute(delete(refused_agents).where(refused_agents.c.family.not_in(newest)))


def list_since(conn: Connection, since: datetime) -> list[RefusedAgentRecord]:
    """Return the agents refused since a time, those with the most starts first."""
    table = refused_agents.c
    query = select(refused_agents).where(table.last_at >= since).order_by(table.starts.desc(), table.family)
    return [from_row(RefusedAgentRecord, row) for row in conn.execute(query)]


def _find(conn: Connection, families: Sequence[str]) -> list[RefusedAgentRecord]:
    query = select(refused_agents).where(refused_agents.c.family.in_(families))
    return [from_row(RefusedAgentRecord, row) for row in conn.execute(query)]


def _joined(before: RefusedAgentRecord | None, refused: RefusedStarts) -> RefusedAgentRecord:
    latest = refused.latest
    if before is None or latest.last_at - before.last_at > RESTED_AFTER:
        before = msgspec.structs.replace(latest, worker_id="", boot_id="", attempts=0, starts=0, entries=0)
    worker_id, boot_id, starts, entries = before.worker_id, before.boot_id, before.starts, before.entries
    for seen_worker, seen_boot in refused.seen:
        starts += seen_boot != boot_id
        entries += seen_worker != worker_id
        worker_id, boot_id = seen_worker, seen_boot
    return msgspec.structs.replace(
        latest,
        attempts=before.attempts + latest.attempts,
        starts=starts,
        entries=entries,
        first_at=before.first_at,
    )
