"""Table of the Servers that use this database, and their last heartbeats."""

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    DateTime,
    Interval,
    delete,
    func,
    literal,
    select,
    type_coerce,
    update,
)

from lyftdata.core.records import ServerRecord
from lyftdata.store.dialects import dialect
from lyftdata.store.rows import from_row, to_row
from lyftdata.store.schema import UtcDateTime, servers
from lyftdata.store.writer.transaction import WriteTx

_CLOCKS_ARE_APART = timedelta(minutes=5)


def upsert_server(tx: WriteTx, record: ServerRecord) -> None:
    """Add a Server, or replace it; its heartbeat is now."""
    dialect.upsert(tx.conn, servers, [to_row(record)])
    record_heartbeat(tx, record.id)


def record_heartbeat(tx: WriteTx, server_id: str) -> bool:
    """Record a heartbeat of a Server now; return False if the Server was evicted."""
    # By the database's clock, since the clocks of the Servers may differ.
    statement = update(servers).where(servers.c.id == server_id)
    return tx.conn.execute(statement.values(beat_at=now())).rowcount == 1


def remove(tx: WriteTx, server_id: str) -> None:
    """Remove a Server that has stopped, or was declared dead."""
    tx.conn.execute(delete(servers).where(servers.c.id == server_id))


def all_servers(conn: Connection) -> list[ServerRecord]:
    """Return every Server, by when it started."""
    rows = conn.execute(select(servers).order_by(servers.c.started_at, servers.c.id))
    return [from_row(ServerRecord, row) for row in rows]


def list_live(conn: Connection, *, silent_for: timedelta) -> set[str]:
    """Return the IDs of the Servers whose last heartbeat is newer than `silent_for`."""
    return set(conn.execute(select(servers.c.id).where(servers.c.beat_at > time_ago(silent_for))).scalars())


def list_dead(conn: Connection, *, silent_for: timedelta) -> list[str]:
    """Return the IDs of the Servers whose last heartbeat is older than `silent_for`."""
    query = select(servers.c.id).where(servers.c.beat_at <= time_ago(silent_for))
    return list(conn.execute(query.order_by(servers.c.id)).scalars())


def now() -> ColumnElement[Any]:
    """Return the current time by the database's clock, which all Servers share."""
    return type_coerce(_clock(), UtcDateTime)


def time_ago(time: timedelta) -> ColumnElement[Any]:
    """Return the time `time` ago, by the database's clock."""
    return type_coerce(_clock() - literal(time, Interval), UtcDateTime)


def is_past(conn: Connection, time: ColumnElement[Any], now: datetime) -> ColumnElement[bool]:
    """
    Return whether a time is past for every Server, so that what expires then may be deleted.

    Replay by clock skew: a Server whose clock is ahead must not delete the record of a used assertion that others would still
    accept. With several Servers the database's clock must be past it too, by some minutes, since their clocks may be behind.
    """
    if not dialect.is_shared(conn.engine):
        return time <= now
    return (time <= now) & (time <= time_ago(_CLOCKS_ARE_APART))


def _clock() -> ColumnElement[Any]:
    return func.clock_timestamp(type_=DateTime(timezone=True))
