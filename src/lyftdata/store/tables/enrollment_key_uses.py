"""Table of when enrollment keys were last used, by fingerprint; these keys themselves are settings of the Server."""

from collections.abc import Collection, Mapping
from datetime import datetime

from sqlalchemy import Connection, select, update

from lyftdata.store.dialects import dialect
from lyftdata.store.schema import enrollment_key_uses
from lyftdata.store.writer.transaction import WriteTx


def touch_last_used(tx: WriteTx, uses: Mapping[str, datetime]) -> None:
    """Record when keys were last used; a later use recorded by another Server is kept."""
    known = last_used(tx.conn, uses)
    rows = [
        {"fingerprint": fingerprint, "last_used_at": at}
        for fingerprint, at in uses.items()
        if fingerprint not in known or known[fingerprint] < at
    ]
    if rows:
        dialect.upsert(tx.conn, enrollment_key_uses, rows)


def rename_fingerprint(tx: WriteTx, old: str, new: str) -> None:
    """Move the last use of a key to another fingerprint."""
    table = enrollment_key_uses
    tx.conn.execute(update(table).where(table.c.fingerprint == old).values(fingerprint=new))


def last_used(conn: Connection, fingerprints: Collection[str]) -> dict[str, datetime]:
    """Return when these keys were last used; keys that never were are left out."""
    table = enrollment_key_uses
    query = select(table).where(table.c.fingerprint.in_(list(fingerprints)))
    return {row.fingerprint: row.last_used_at for row in conn.execute(query)}
