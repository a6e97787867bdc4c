"""Tables of refused attempts: counted in groups, stored by reference, bounded."""

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime

from sqlalchemy import Connection, delete, func, insert, or_, select

from lyftdata.core.records import RefusalAttempt, RefusalGroup
from lyftdata.store.dialects import dialect
from lyftdata.store.rows import from_row, to_row
from lyftdata.store.schema import refusal_attempts, refusal_groups
from lyftdata.store.writer.transaction import WriteTx

MAX_GROUPS = 5_000
MAX_ATTEMPTS = 50_000


def record_refusals(tx: WriteTx, attempts: Sequence[RefusalAttempt]) -> None:
    """Record attempts, and evict the oldest if there are more than are kept, as in a flood."""
    if not attempts:
        return
    rows = [to_row(group) for group in group_attempts(attempts)]
    dialect.upsert(tx.conn, refusal_groups, rows, keep=frozenset({"first_at"}), add=frozenset({"count"}))
    tx.conn.execute(insert(refusal_attempts), [to_row(attempt) for attempt in attempts])
    _bound(tx.conn)


def group_attempts(
    attempts: Iterable[RefusalAttempt], *, onto: Iterable[RefusalGroup] = ()
) -> list[RefusalGroup]:
    """Group attempts, given oldest first, by cause, claimed Worker and address; add them to the given groups."""
    groups = {(g.code, g.claimed_worker, g.address): g for g in onto}
    for attempt in attempts:
        key = (attempt.code, attempt.claimed_worker, attempt.address)
        before = groups.get(key)
        groups[key] = RefusalGroup(
            code=attempt.code,
            claimed_worker=attempt.claimed_worker,
            address=attempt.address,
            count=1 if before is None else before.count + 1,
            first_at=attempt.at if before is None else before.first_at,
            last_at=attempt.at,
            last_reference=attempt.reference,
            last_detail=attempt.detail,
        )
    return list(groups.values())


def list_groups(
    conn: Connection,
    *,
    limit: int = 100,
    code: str | None = None,
    q: str | None = None,
    claimed_worker: str | None = None,
) -> list[RefusalGroup]:
    """Return groups, the latest first; `q` matches part of a claimed Worker or an address, `claimed_worker` all of it."""
    query = select(refusal_groups)
    if code:
        query = query.where(refusal_groups.c.code == code)
    if claimed_worker is not None:
        query = query.where(refusal_groups.c.claimed_worker == claimed_worker)
    if q:
        columns = (refusal_groups.c.claimed_worker, refusal_groups.c.address)
        query = query.where(or_(*(column.icontains(q, autoescape=True) for column in columns)))
    rows = conn.execute(query.order_by(refusal_groups.c.last_at.desc()).limit(limit))
    return [from_row(RefusalGroup, row) for row in rows]


def find_reference(conn: Connection, reference: str) -> RefusalAttempt | None:
    """Return the attempt with this reference, or None if there is none or it was evicted."""
    query = select(refusal_attempts).where(refusal_attempts.c.reference == reference)
    row = conn.execute(query.order_by(refusal_attempts.c.number.desc())).first()
    return None if row is None else from_row(RefusalAttempt, row)


def list_by_enrollment_key(
    conn: Connection, fingerprints: Collection[str], *, since: datetime, limit: int
) -> list[RefusalAttempt]:
    """
    Return the attempts refused by the rules of an enrollment key, the latest first.

    Args:
        conn: A connection.
        fingerprints: Of the key's generations.
        since: Earlier ones are left out.
        limit: How many to return at most.
    """
    table = refusal_attempts.c
    query = (
        select(refusal_attempts)
        .where(table.enrollment_key.in_(list(fingerprints)), table.at >= since)
        .order_by(table.number.desc())
        .limit(limit)
    )
    return [from_row(RefusalAttempt, row) for row in conn.execute(query)]


def kept_since(conn: Connection) -> datetime | None:
    """Return the time of the oldest stored attempt if older ones were evicted, None if none was."""
    row = conn.execute(select(refusal_attempts).order_by(refusal_attempts.c.number).limit(1)).first()
    return None if row is None or row.number == 1 else row.at


def _bound(conn: Connection) -> None:
    newest = conn.execute(select(func.max(refusal_attempts.c.number))).scalar() or 0
    conn.execute(delete(refusal_attempts).where(refusal_attempts.c.number <= newest - MAX_ATTEMPTS))
    surplus = conn.execute(select(func.count()).select_from(refusal_groups)).scalar_one() - MAX_GROUPS
    if surplus > 0:
        oldest = conn.execute(
            select(refusal_groups.c.last_at).order_by(refusal_groups.c.last_at).offset(surplus - 1)
        )
        conn.execute(delete(refusal_groups).where(refusal_groups.c.last_at <= oldest.scalars().first()))
