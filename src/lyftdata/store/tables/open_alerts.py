"""Table of alerts that were raised and have not ended."""

from datetime import datetime

from sqlalchemy import ColumnElement, Connection, and_, delete, select, update

from lyftdata.core.records import OpenAlertRecord
from lyftdata.store.dialects import dialect
from lyftdata.store.rows import from_row, to_row
from lyftdata.store.schema import open_alerts
from lyftdata.store.writer.transaction import WriteTx


def all_open(conn: Connection) -> list[OpenAlertRecord]:
    """Return every open alert, in the order in which they were raised."""
    query = select(open_alerts).order_by(open_alerts.c.raised_at, open_alerts.c.kind, open_alerts.c.key)
    return [from_row(OpenAlertRecord, row) for row in conn.execute(query)]


def raise_alert(tx: WriteTx, record: OpenAlertRecord) -> None:
    """Add an open alert."""
    dialect.upsert(tx.conn, open_alerts, [to_row(record)])


def note_seen(tx: WriteTx, record: OpenAlertRecord, *, at: datetime) -> None:
    """Record that the cause of an alert persists."""
    tx.conn.execute(update(open_alerts).where(_is(record)).values(last_seen_at=at))


def end_alert(tx: WriteTx, record: OpenAlertRecord) -> None:
    """Remove an open alert."""
    tx.conn.execute(delete(open_alerts).where(_is(record)))


def _is(record: OpenAlertRecord) -> ColumnElement[bool]:
    return and_(open_alerts.c.kind == record.kind, open_alerts.c.key == record.key)
