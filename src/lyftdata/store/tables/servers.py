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


def put(tx: WriteTx, record: ServerRecord) -> None:
    """Add a Server, or replace it; its heartbeat is now."""
    dialect.upsert(tx.conn, servers, [to_row(record)])
    beat(tx, record.id)


def beat(tx: WriteTx, server_id: str) -> bool:
    """Record a Server's heartbeat; return False if it was declared dead meanwhile."""
    # By the database's clock: those of the Servers may be apart.
    statement = update(servers).where(servers.c.id == server_id)
    return tx.conn.execute(statement.values(beat_at=now())).rowcount == 1


def remove(tx: WriteTx, server_id: str) -> None:
    """Forget a Server that has stopped, or was given up."""
    tx.conn.execute(delete(servers).where(servers.c.id == server_id))


def all_servers(conn: Connection) -> list[ServerRecord]:
    """Return every Server, by when it started."""
    rows = conn.execute(select(servers).order_by(servers.c.started_at, servers.c.id))
    return [from_row(ServerRecord, row) for row in rows]


def living(conn: Connection, *, silent_for: timedelta) -> set[str]:
    """Return the IDs of the Servers with a recent heartbeat."""
    return set(conn.execute(select(servers.c.id).where(servers.c.beat_at > ago(silent_for))).scalars())


def silent(conn: Connection, *, silent_for: timedelta) -> list[str]:
    """Return the IDs of the Servers whose last heartbeat is older than that."""
    query = select(servers.c.id).where(servers.c.beat_at <= ago(silent_for))
    return list(conn.execute(query.order_by(servers.c.id)).scalars())


def now() -> ColumnElement[Any]:
    """Return the database's clock, which is one for all Servers."""
    return type_coerce(_clock(), UtcDateTime)


def ago(time: timedelta) -> ColumnElement[Any]:
    """Return the moment so long ago, by the database's clock."""
    return type_coerce(_clock() - literal(time, Interval), UtcDateTime)


def is_past(conn: Connection, time: ColumnElement[Any], now: datetime) -> ColumnElement[bool]:
    """
    Return whether a time is over for every Server, so that what was good until then may be forgotten.

    One Server whose clock is ahead must not forget for the others what they would still take: where there may be several,
    the database's clock must say so too, by some minutes, since theirs may be behind.
    """
    if not dialect.is_shared(conn.engine):
        return time <= now
    return (time <= now) & (time <= ago(_CLOCKS_ARE_APART))


def _clock() -> ColumnElement[Any]:
    return func.clock_timestamp(type_=DateTime(timezone=True))
