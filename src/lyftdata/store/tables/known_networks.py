"""
Table of networks from which operators have signed in, as keyed hashes that reveal no address.

A network is known for 90 days after the last sign-in from it. Failures from it are counted separately; it is never a
credential.
"""

from datetime import datetime, timedelta

from sqlalchemy import Connection, delete, select

from lyftdata.store.dialects import dialect
from lyftdata.store.schema import known_networks
from lyftdata.store.writer.transaction import WriteTx

KNOWN_FOR = timedelta(days=90)
MAX_PER_OPERATOR = 100


def remember_network(tx: WriteTx, operator: str, digest: bytes, *, now: datetime) -> None:
    """Record that an operator signed in from a network; beyond a limit, the least recently used networks are dropped."""
    table = known_networks
    dialect.upsert(tx.conn, table, [{"operator": operator, "digest": digest, "used_at": now}])
    tx.conn.execute(delete(table).where(table.c.used_at <= now - KNOWN_FOR))
    theirs = select(table.c.digest).where(table.c.operator == operator)
    surplus = theirs.order_by(table.c.used_at.desc(), table.c.digest).offset(MAX_PER_OPERATOR)
    if too_many := list(tx.conn.execute(surplus).scalars()):
        tx.conn.execute(delete(table).where(table.c.operator == operator, table.c.digest.in_(too_many)))


def forget_all_networks(tx: WriteTx) -> None:
    """Remove every network: with another key none would be found any more."""
    tx.conn.execute(delete(known_networks))


def is_known_network(conn: Connection, operator: str, digest: bytes, *, now: datetime) -> bool:
    """Return whether the operator of this name has recently signed in from a network."""
    table = known_networks
    query = select(table.c.digest).where(
        table.c.operator == operator, table.c.digest == digest, table.c.used_at > now - KNOWN_FOR
    )
    return conn.execute(query).first() is not None


def has_any(conn: Connection) -> bool:
    """Return whether any operator has recently signed in by password."""
    return conn.execute(select(known_networks.c.operator).limit(1)).first() is not None
