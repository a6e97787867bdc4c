"""
Table of how many tokens each Worker got in each hour.

One row holds a Worker's day, with a column for each hour (UTC): a twenty-fourth of the rows, and all that several Servers write
is added up by the database.
"""

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, delete, select

from lyftdata.core.records import TokenCountRecord
from lyftdata.store.dialects import dialect
from lyftdata.store.schema import HOUR_COLUMNS, token_counts, workers
from lyftdata.store.writer.transaction import WriteTx

_BATCH = 500
_PRUNED_AT_ONCE = 5_000
_ADDED = frozenset(HOUR_COLUMNS)


def add_counts(tx: WriteTx, counts: Sequence[TokenCountRecord]) -> None:
    """Add counts to those that are kept; those of deleted Workers are left out."""
    for start in range(0, len(counts), _BATCH):
        batch = counts[start : start + _BATCH]
        ids = sorted({count.worker_id for count in batch})
        alive = set(tx.conn.execute(select(workers.c.id).where(workers.c.id.in_(ids))).scalars())
        rows = _by_day([count for count in batch if count.worker_id in alive])
        if rows:
            dialect.upsert(tx.conn, token_counts, rows, add=_ADDED)


def list_counts(conn: Connection, worker_id: str, *, since: datetime) -> list[TokenCountRecord]:
    """Return a Worker's counts of the hours from `since` on, the earliest first; hours without a token are left out."""
    query = (
        select(token_counts)
        .where(token_counts.c.worker_id == worker_id, token_counts.c.day >= _day_of(since))
        .order_by(token_counts.c.day)
    )
    found = []
    for row in conn.execute(query):
        for number, column in enumerate(HOUR_COLUMNS):
            tokens, hour = getattr(row, column), row.day + timedelta(hours=number)
            if tokens and hour >= since:
                found.append(TokenCountRecord(worker_id, hour, tokens))
    return found


def prune(tx: WriteTx, *, keep_since: datetime) -> None:
    """Delete days before `keep_since`, of a bounded number of Workers, so that other writes need not wait for long."""
    before = token_counts.c.day < _day_of(keep_since)
    some = select(token_counts.c.worker_id).where(before).limit(_PRUNED_AT_ONCE)
    tx.conn.execute(delete(token_counts).where(before, token_counts.c.worker_id.in_(some.scalar_subquery())))


def _by_day(counts: Sequence[TokenCountRecord]) -> list[dict[str, Any]]:
    # One row a key: PostgreSQL rejects a statement that would change a row twice.
    rows: dict[tuple[str, datetime], dict[str, int]] = defaultdict(lambda: dict.fromkeys(HOUR_COLUMNS, 0))
    for count in counts:
        rows[count.worker_id, _day_of(count.hour)][HOUR_COLUMNS[count.hour.hour]] += count.tokens
    return [{"worker_id": worker_id, "day": day, **hours} for (worker_id, day), hours in rows.items()]


def _day_of(at: datetime) -> datetime:
    return at.replace(hour=0, minute=0, second=0, microsecond=0)
