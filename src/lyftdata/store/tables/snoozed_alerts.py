"""Table of alerts that operators have snoozed."""

from datetime import datetime

from sqlalchemy import Connection, delete, select

from lyftdata.core.snoozing import SnoozedAlertRecord
from lyftdata.store.dialects import dialect
from lyftdata.store.rows import from_row, to_row
from lyftdata.store.schema import snoozed_alerts
from lyftdata.store.writer.transaction import WriteTx


def snooze(tx: WriteTx, record: SnoozedAlertRecord) -> None:
    """Store a snooze, replacing an earlier one of the same alert."""
    dialect.upsert(tx.conn, snoozed_alerts, [to_row(record)])


def unsnooze(tx: WriteTx, alert: str) -> None:
    """Delete a snooze."""
    tx.conn.execute(delete(snoozed_alerts).where(snoozed_alerts.c.alert == alert))


def remove_ended(tx: WriteTx, *, now: datetime) -> None:
    """Delete snoozes that have ended."""
    tx.conn.execute(delete(snoozed_alerts).where(snoozed_alerts.c.until <= now))


def list_snoozed(conn: Connection, *, now: datetime) -> list[SnoozedAlertRecord]:
    """Return the current snoozes, the one that ends first at the beginning."""
    query = select(snoozed_alerts).where(snoozed_alerts.c.until > now)
    rows = conn.execute(query.order_by(snoozed_alerts.c.until, snoozed_alerts.c.alert))
    return [from_row(SnoozedAlertRecord, row) for row in rows]
