"""
The audit log: appended to, never changed.

The head row names the last event, under a keyed hash of its own, so that removing events from the end is found
like any other removal.
"""

import hmac
from collections.abc import Iterator
from hashlib import sha256

from sqlalchemy import Connection, Row, insert, select

from lyftdata.core.audit import GENESIS, ChainReport, chain_hash, verify_chain
from lyftdata.core.records import AuditEvent, ChainedAuditEvent
from lyftdata.store import dialect
from lyftdata.store.rows import from_row, to_row
from lyftdata.store.schema import audit_events, audit_head, signing_keys

_HEAD_ID = 1


def append(conn: Connection, event: AuditEvent, *, key: bytes) -> ChainedAuditEvent:
    """Append an event; the caller's transaction makes it durable together with what it tells of."""
    number, previous = _head(conn)
    number += 1
    chained = ChainedAuditEvent(
        number=number,
        event=event,
        previous=previous,
        hash=chain_hash(event, number=number, previous=previous, key=key),
    )
    row = to_row(event) | {"number": number, "previous": previous, "hash": chained.hash}
    conn.execute(insert(audit_events).values(row))
    head = {
        "id": _HEAD_ID,
        "number": number,
        "hash": chained.hash,
        "mac": _head_mac(number, chained.hash, key),
    }
    dialect.upsert(conn, audit_head, [head])
    return chained


def list_events(
    conn: Connection,
    *,
    limit: int,
    before: int | None = None,
    action: str | None = None,
    subject: str | None = None,
) -> list[ChainedAuditEvent]:
    """Return events, the latest first; `before` is the number of the last one of the page before."""
    query = select(audit_events).order_by(audit_events.c.number.desc()).limit(limit)
    if before is not None:
        query = query.where(audit_events.c.number < before)
    if action:
        query = query.where(audit_events.c.action == action)
    if subject:
        query = query.where(audit_events.c.subject == subject)
    return [_chained(row) for row in conn.execute(query)]


def events_after(conn: Connection, *, after: int, limit: int) -> list[ChainedAuditEvent]:
    """Return the events behind a number, the oldest first."""
    query = (
        select(audit_events).where(audit_events.c.number > after).order_by(audit_events.c.number).limit(limit)
    )
    return [_chained(row) for row in conn.execute(query)]


def verify(conn: Connection, *, key: bytes) -> ChainReport:
    """Check every link of the chain, its end, and that the head was written by us."""
    row = conn.execute(select(audit_head)).first()
    number, head_hash = (0, GENESIS) if row is None else (row.number, row.hash)
    if row is None and conn.execute(select(signing_keys.c.kid)).first() is not None:
        # The first thing that a Server writes down is that it made a signing key.
        return ChainReport(
            ok=False,
            checked=0,
            head_number=0,
            head_hash=GENESIS,
            first_bad=1,
            problem="The whole log was removed.",
        )
    if row is not None and not hmac.compare_digest(row.mac, _head_mac(number, head_hash, key)):
        return ChainReport(
            ok=False,
            checked=0,
            head_number=0,
            head_hash=GENESIS,
            problem="The record of the last event was changed.",
        )
    return verify_chain(_iterate(conn), key=key, expected_head=(number, head_hash))


def _iterate(conn: Connection) -> Iterator[ChainedAuditEvent]:
    """Iterate over the chain in batches: it may be longer than memory."""
    rows = conn.execution_options(yield_per=1_000).execute(
        select(audit_events).order_by(audit_events.c.number)
    )
    return map(_chained, rows)


def _head(conn: Connection) -> tuple[int, bytes]:
    row = conn.execute(select(audit_head)).first()
    return (0, GENESIS) if row is None else (row.number, row.hash)


def _head_mac(number: int, head_hash: bytes, key: bytes) -> bytes:
    return hmac.digest(key, b"audit head" + number.to_bytes(8, "big") + head_hash, sha256)


def _chained(row: Row[tuple[object, ...]]) -> ChainedAuditEvent:
    return ChainedAuditEvent(
        number=row.number, event=from_row(AuditEvent, row), previous=row.previous, hash=row.hash
    )
