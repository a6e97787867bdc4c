"""Worker tokens that were taken back one by one (RFC 7009), until they end by themselves."""

from datetime import datetime

from sqlalchemy import Connection, delete, select

from lyftdata.store import dialect
from lyftdata.store.changes import TokenRevoked
from lyftdata.store.engine import WriteTx
from lyftdata.store.schema import revoked_tokens


def revoke_token(tx: WriteTx, jti: str, *, expires_at: datetime) -> None:
    """Take a token back; twice is once."""
    dialect.upsert(tx.conn, revoked_tokens, [{"jti": jti, "expires_at": expires_at}])
    tx.changed(TokenRevoked(jti, expires_at))


def living(conn: Connection, now: datetime) -> dict[str, datetime]:
    """Return the identifiers of revoked tokens that have not ended, with their ends."""
    query = select(revoked_tokens).where(revoked_tokens.c.expires_at > now)
    return {row.jti: row.expires_at for row in conn.execute(query)}


def prune(tx: WriteTx, now: datetime) -> None:
    """Drop those that have ended."""
    tx.conn.execute(delete(revoked_tokens).where(revoked_tokens.c.expires_at <= now))
