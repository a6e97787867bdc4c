"""Table of revoked worker tokens (RFC 7009), until they expire."""

from collections.abc import Collection
from datetime import datetime

from sqlalchemy import Connection, delete, select

from lyftdata.store.changes import TokenRevoked
from lyftdata.store.dialects import dialect
from lyftdata.store.schema import revoked_tokens
from lyftdata.store.tables import servers
from lyftdata.store.writer.transaction import WriteTx

_BATCH = 500


def revoke_token(tx: WriteTx, jti: str, *, expires_at: datetime) -> None:
    """Record a token as revoked; repeating it changes nothing."""
    dialect.upsert(tx.conn, revoked_tokens, [{"jti": jti, "expires_at": expires_at}])
    tx.changed(TokenRevoked(jti, expires_at))


def list_unexpired(conn: Connection, now: datetime) -> dict[str, datetime]:
    """Return the identifiers of revoked tokens that have not expired, with their expiry."""
    query = select(revoked_tokens).where(revoked_tokens.c.expires_at > now)
    return {row.jti: row.expires_at for row in conn.execute(query)}


def find_revoked(conn: Connection, jtis: Collection[str]) -> dict[str, datetime]:
    """Return which of these tokens are revoked, with their expiry."""
    wanted = list(jtis)
    found: dict[str, datetime] = {}
    for start in range(0, len(wanted), _BATCH):
        query = select(revoked_tokens).where(revoked_tokens.c.jti.in_(wanted[start : start + _BATCH]))
        found |= {row.jti: row.expires_at for row in conn.execute(query)}
    return found


def prune(tx: WriteTx, now: datetime) -> None:
    """Delete those that have expired."""
    tx.conn.execute(delete(revoked_tokens).where(servers.is_past(tx.conn, revoked_tokens.c.expires_at, now)))
