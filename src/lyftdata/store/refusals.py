"""Refused attempts: counted in groups, kept by reference, bounded."""

from collections.abc import Sequence

from sqlalchemy import Connection, delete, func, insert, or_, select, update

from lyftdata.core.records import RefusalAttempt, RefusalGroup
from lyftdata.store.engine import WriteTx
from lyftdata.store.rows import from_row, to_row
from lyftdata.store.schema import refusal_attempts, refusal_groups

MAX_GROUPS = 5_000
MAX_ATTEMPTS = 50_000


def record_refusals(tx: WriteTx, attempts: Sequence[RefusalAttempt]) -> None:
    """Write attempts down, and let the oldest go where a flood has brought more than is kept."""
    groups: dict[tuple[str, str, str], list[RefusalAttempt]] = {}
    for attempt in attempts:
        groups.setdefault((attempt.code, attempt.claimed_worker, attempt.address), []).append(attempt)
    for members in groups.values():
        _count(tx.conn, members)
    if attempts:
        tx.conn.execute(insert(refusal_attempts), [to_row(attempt) for attempt in attempts])
    _bound(tx.conn)


def list_groups(
    conn: Connection, *, limit: int = 100, code: str | None = None, q: str | None = None
) -> list[RefusalGroup]:
    """Return groups, the latest first; `q` is part of a claimed Worker or an address."""
    query = select(refusal_groups)
    if code:
        query = query.where(refusal_groups.c.code == code)
    if q:
        columns = (refusal_groups.c.claimed_worker, refusal_groups.c.address)
        query = query.where(or_(*(column.icontains(q, autoescape=True) for column in columns)))
    rows = conn.execute(query.order_by(refusal_groups.c.last_at.desc()).limit(limit))
    return [from_row(RefusalGroup, row) for row in rows]


def find_reference(conn: Connection, reference: str) -> RefusalAttempt | None:
    """Return the attempt with this reference, or None when there is none or it was let go."""
    query = select(refusal_attempts).where(refusal_attempts.c.reference == reference)
    row = conn.execute(query.order_by(refusal_attempts.c.number.desc())).first()
    return None if row is None else from_row(RefusalAttempt, row)


def _count(conn: Connection, members: list[RefusalAttempt]) -> None:
    first, last = members[0], members[-1]
    latest = {"last_at": last.at, "last_reference": last.reference, "last_detail": last.detail}
    here = (
        (refusal_groups.c.code == first.code)
        & (refusal_groups.c.claimed_worker == first.claimed_worker)
        & (refusal_groups.c.address == first.address)
    )
    counted = update(refusal_groups).where(here).values(count=refusal_groups.c.count + len(members), **latest)
    if conn.execute(counted).rowcount == 0:
        conn.execute(
            insert(refusal_groups).values(
                code=first.code,
                claimed_worker=first.claimed_worker,
                address=first.address,
                count=len(members),
                first_at=first.at,
                **latest,
            )
        )


def _bound(conn: Connection) -> None:
    newest = conn.execute(select(func.max(refusal_attempts.c.number))).scalar() or 0
    conn.execute(delete(refusal_attempts).where(refusal_attempts.c.number <= newest - MAX_ATTEMPTS))
    surplus = conn.execute(select(func.count()).select_from(refusal_groups)).scalar_one() - MAX_GROUPS
    if surplus > 0:
        oldest = conn.execute(
            select(refusal_groups.c.last_at).order_by(refusal_groups.c.last_at).offset(surplus - 1)
        )
        conn.execute(delete(refusal_groups).where(refusal_groups.c.last_at <= oldest.scalars().first()))
