"""
Table of how many agents of each version there were, at one moment of each hour.

A row is one version in one hour. The first Server to write an hour wins: all Servers count the same fleet, so nothing is
added up. The first hour written of a day also represents the day, and is kept longer.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy import Connection, delete, insert, select

from lyftdata.core.records import VersionCountRecord
from lyftdata.store.rows import to_row
from lyftdata.store.schema import version_counts
from lyftdata.store.writer.transaction import WriteTx

_DAY = timedelta(days=1)


def has_counts(conn: Connection, at: datetime) -> bool:
    """Return whether the hour that begins then is already written."""
    return (
        conn.execute(select(version_counts.c.at).where(version_counts.c.at == at).limit(1)).first()
        is not None
    )


def add_counts(tx: WriteTx, at: datetime, counts: Sequence[VersionCountRecord]) -> bool:
    """
    Write the counts of an hour, unless another Server has; return whether this one did.

    Args:
        tx: The transaction: writers take turns, so the check and the write are atomic.
        at: The beginning of the hour, UTC.
        counts: In rank order, all with this time.
    """
    if not counts or has_counts(tx.conn, at):
        return False
    day = at.replace(hour=0)
    of_the_day = select(version_counts.c.at).where(
        version_counts.c.at >= day, version_counts.c.at < day + _DAY, version_counts.c.is_daily
    )
    is_daily = tx.conn.execute(of_the_day.limit(1)).first() is None
    rows = [to_row(count) | {"place": place, "is_daily": is_daily} for place, count in enumerate(counts)]
    tx.conn.execute(insert(version_counts), rows)
    return True


def list_counts(conn: Connection, *, since: datetime, by_day: bool) -> list[VersionCountRecord]:
    """Return the hours from `since` on, or one per day, the earliest first, and the versions of each in rank order."""
    query = select(version_counts.c.at, version_counts.c.version, version_counts.c.workers).where(
        version_counts.c.at >= since
    )
    if by_day:
        query = query.where(version_counts.c.is_daily)
    rows = conn.execute(query.order_by(version_counts.c.at, version_counts.c.place))
    return [VersionCountRecord(row.at, row.version, row.workers) for row in rows]


def prune(tx: WriteTx, *, hours_since: datetime, days_since: datetime) -> None:
    """Delete hourly and daily counts that are older than they are kept."""
    is_old_hour = (version_counts.c.at < hours_since) & ~version_counts.c.is_daily
    tx.conn.execute(delete(version_counts).where(is_old_hour | (version_counts.c.at < days_since)))
