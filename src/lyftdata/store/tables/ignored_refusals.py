"""Table of refusals that operators ignore for a time, by cause and subject."""

from datetime import datetime

from sqlalchemy import Connection, delete, select

from lyftdata.core.records import IgnoredRefusalRecord
from lyftdata.store.dialects import dialect
from lyftdata.store.rows import from_row, to_row
from lyftdata.store.schema import ignored_refusals
from lyftdata.store.writer.transaction import WriteTx


def ignore(tx: WriteTx, record: IgnoredRefusalRecord) -> None:
    """Write a decision, replacing an earlier one."""
    dialect.upsert(tx.conn, ignored_refusals, [to_row(record)])


def stop_ignoring(tx: WriteTx, *, code: str, subject: str) -> bool:
    """Remove a decision; return whether there was one."""
    table = ignored_refusals.c
    statement = delete(ignored_refusals).where(table.code == code, table.subject == subject)
    return tx.conn.execute(statement).rowcount > 0


def remove_ended(tx: WriteTx, *, now: datetime) -> None:
    """Remove expired decisions."""
    tx.conn.execute(delete(ignored_refusals).where(ignored_refusals.c.until <= now))


def list_ignored(conn: Connection, *, now: datetime) -> list[IgnoredRefusalRecord]:
    """Return the decisions that are in force."""
    rows = conn.execute(select(ignored_refusals).where(ignored_refusals.c.until > now))
    return [from_row(IgnoredRefusalRecord, row) for row in rows]
