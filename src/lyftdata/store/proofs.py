"""Enrollment proofs that were used: each once, whoever races."""

from datetime import datetime

from sqlalchemy import delete

from lyftdata.store import dialect
from lyftdata.store.schema import spent_proofs
from lyftdata.store.transaction import WriteTx


def spend_proof(tx: WriteTx, *, jti: str, expires_at: datetime) -> bool:
    """Use a proof up; return False if it was used before."""
    return dialect.insert_ignoring_conflict(tx.conn, spent_proofs, {"jti": jti, "expires_at": expires_at})


def prune(tx: WriteTx, now: datetime) -> int:
    """Forget proofs that could no longer pass anyway; return how many."""
    return tx.conn.execute(delete(spent_proofs).where(spent_proofs.c.expires_at <= now)).rowcount
