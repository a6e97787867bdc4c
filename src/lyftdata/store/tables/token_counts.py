"""
Table of how many tokens each Worker got in each hour.

A row is one day of a Worker, with a column for each hour (UTC): a twenty-fourth of the rows. The database adds up what
several Servers write.
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

_PRUNED_AT_ONCE = 5_000


def add_counts(tx: WriteTx, counts: Sequence[TokenCountRecord]) -> None:
    """Add to the stored counts; those of deleted Workers are left out."""
    by_column: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for count in counts:
        column = HOUR_COLUMNS[count.hour.hour]
        row = {"worker_id": count.worker_id, "day": _day_of(count.hour), column: count.tokens}
        by_column[column].append(row)
    for column, rows in by_column.items():
        add = dialect.add_to_column(tx.conn.dialect.name, token_counts, column, parent=workers.c.id)
        dialect.execute_many(tx.conn, add, rows)


def list_counts(conn: Connection, worker_id: str, *, since: datetime) -> list[TokenCountRecord]:
    """Return a Worker's hourly counts from `since` on, the earliest first; hours without a token are left out."""
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
    """Delete days before `keep_since`, of a bounded number of Workers at a time, so that other writes need not wait long."""
    before = token_counts.c.day < _day_of(keep_since)
    some = select(token_counts.c.worker_id).where(before).limit(_PRUNED_AT_ONCE)
    tx.conn.execute(delete(token_counts).where(before, token_counts.c.worker_id.in_(some.scalar_subquery())))


def _day_of(at: datetime) -> datetime:
    return at.replace(hour=0, minute=0, second=0, microsecond=0)
