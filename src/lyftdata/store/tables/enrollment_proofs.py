"""Table of used enrollment proofs: each is accepted once, even in a race."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import delete

from lyftdata.store.dialects import dialect
from lyftdata.store.schema import spent_proofs
from lyftdata.store.tables import servers
from lyftdata.store.writer.transaction import WriteTx


def spend_proofs(tx: WriteTx, proofs: Sequence[tuple[str, datetime]]) -> set[str]:
    """
    Mark proofs as used, each a `jti` with the time after which it can be forgotten; return those that were unused before.

    If a proof is given twice, its first use counts: the caller must check for that.
    """
    rows = [{"jti": jti, "expires_at": expires_at} for jti, expires_at in proofs]
    return dialect.insert_ignoring_conflicts(tx.conn, spent_proofs, rows) if rows else set()


def prune(tx: WriteTx, now: datetime) -> int:
    """Delete proofs that would no longer be accepted anyway; return how many."""
    return tx.conn.execute(
        delete(spent_proofs).where(servers.is_past(tx.conn, spent_proofs.c.expires_at, now))
    ).rowcount
