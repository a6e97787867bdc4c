"""Table of assertions used at any Server: each is accepted once, even in a race."""

from collections.abc import Mapping
from datetime import datetime

from sqlalchemy import delete

from lyftdata.store.dialects import dialect
from lyftdata.store.schema import spent_assertions
from lyftdata.store.tables import servers
from lyftdata.store.writer.transaction import WriteTx


def spend_all(tx: WriteTx, expires_at: Mapping[bytes, datetime]) -> set[bytes]:
    """Mark assertions as used, by a digest of signer and `jti`; return those that were unused before."""
    rows = [{"digest": digest, "expires_at": at} for digest, at in expires_at.items()]
    return dialect.insert_ignoring_conflicts(tx.conn, spent_assertions, rows) if rows else set()


def prune(tx: WriteTx, now: datetime) -> None:
    """Delete those that would no longer be accepted anyway."""
    tx.conn.execute(
        delete(spent_assertions).where(servers.is_past(tx.conn, spent_assertions.c.expires_at, now))
    )
