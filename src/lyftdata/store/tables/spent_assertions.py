"""Table of assertions that were used at any Server: each is accepted once, even in a race."""

from datetime import datetime

from sqlalchemy import delete

from lyftdata.store.dialects import dialect
from lyftdata.store.schema import spent_assertions
from lyftdata.store.tables import servers
from lyftdata.store.writer.transaction import WriteTx


def spend(tx: WriteTx, digest: bytes, *, expires_at: datetime) -> bool:
    """Use an assertion up, by a digest of who signed it and its `jti`; return False if it was used before."""
    row = {"digest": digest, "expires_at": expires_at}
    return dialect.insert_ignoring_conflict(tx.conn, spent_assertions, row)


def prune(tx: WriteTx, now: datetime) -> None:
    """Forget those that could no longer pass anyway."""
    tx.conn.execute(
        delete(spent_assertions).where(servers.is_past(tx.conn, spent_assertions.c.expires_at, now))
    )
