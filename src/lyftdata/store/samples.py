"""What the Server did, a row a minute."""

from datetime import datetime

from sqlalchemy import Connection, delete, select

from lyftdata.core.records import Sample
from lyftdata.store import dialect
from lyftdata.store.engine import WriteTx
from lyftdata.store.rows import from_row, to_row
from lyftdata.store.schema import samples


def add_sample(tx: WriteTx, sample: Sample, *, keep_since: datetime) -> None:
    """Write a minute down (over itself, if the clock was set back), and drop those before `keep_since`."""
    dialect.upsert(tx.conn, samples, [to_row(sample)])
    tx.conn.execute(delete(samples).where(samples.c.at < keep_since))


def samples_since(conn: Connection, since: datetime) -> list[Sample]:
    """Return the minutes from `since` on, the oldest first."""
    rows = conn.execute(select(samples).where(samples.c.at >= since).order_by(samples.c.at))
    return [from_row(Sample, row) for row in rows]
