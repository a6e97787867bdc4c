"""Table of operators' sessions: digests of their tokens, never the tokens."""

from collections.abc import Collection, Mapping
from datetime import datetime

from sqlalchemy import Connection, bindparam, delete, func, insert, or_, select, update

from lyftdata.core.records import AdminSessionRecord, OperatorRecord
from lyftdata.store.rows import from_row, to_row
from lyftdata.store.schema import admin_sessions, operators
from lyftdata.store.tables.operators import find_operator
from lyftdata.store.writer.transaction import WriteTx

MAX_OF_ONE = 50


def insert_session(tx: WriteTx, record: AdminSessionRecord) -> None:
    """Add a session; if the operator has too many, end their oldest."""
    tx.conn.execute(insert(admin_sessions), to_row(record))
    mine = select(admin_sessions.c.id).where(admin_sessions.c.operator == record.operator)
    surplus = mine.order_by(admin_sessions.c.created_at.desc(), admin_sessions.c.id).offset(MAX_OF_ONE)
    too_many = list(tx.conn.execute(surplus).scalars())
    if too_many:
        tx.conn.execute(delete(admin_sessions).where(admin_sessions.c.id.in_(too_many)))


def renew_session(tx: WriteTx, session_id: str, *, digest: bytes, authenticated_at: datetime) -> None:
    """Give a session a new token, after its operator has authenticated again."""
    tx.conn.execute(
        update(admin_sessions)
        .where(admin_sessions.c.id == session_id)
        .values(digest=digest, authenticated_at=authenticated_at, used_at=authenticated_at)
    )


def set_second_factor(tx: WriteTx, session_id: str, second_factor: str | None) -> None:
    """Record which second factor a session was opened with."""
    tx.conn.execute(
        update(admin_sessions).where(admin_sessions.c.id == session_id).values(second_factor=second_factor)
    )


def touch_used(tx: WriteTx, uses: Mapping[str, datetime]) -> None:
    """Record when sessions were last used, by ID; a later use at another Server is kept."""
    if not uses:
        return
    table = admin_sessions.c
    is_older = or_(table.used_at.is_(None), table.used_at < bindparam("at"))
    statement = (
        update(admin_sessions)
        .where((table.id == bindparam("session")) & is_older)
        .values(used_at=bindparam("at"))
    )
    tx.conn.execute(statement, [{"session": session, "at": at} for session, at in uses.items()])


def delete_session(tx: WriteTx, session_id: str) -> None:
    """End a session."""
    tx.conn.execute(delete(admin_sessions).where(admin_sessions.c.id == session_id))


def delete_sessions_of(tx: WriteTx, operator: str, *, besides: str | None = None) -> None:
    """End every session of an operator except one."""
    statement = delete(admin_sessions).where(admin_sessions.c.operator == operator)
    if besides is not None:
        statement = statement.where(admin_sessions.c.id != besides)
    tx.conn.execute(statement)


def delete_of_issuer_session(tx: WriteTx, names: Collection[str], issuer_session: str) -> None:
    """End the sessions of these operators that belong to one session at their issuer."""
    tx.conn.execute(
        delete(admin_sessions).where(
            admin_sessions.c.operator.in_(names), admin_sessions.c.issuer_session == issuer_session
        )
    )


def operators_of_issuer_session(conn: Connection, *, issuer: str, issuer_session: str) -> list[str]:
    """Return the names of the operators who have a session that belongs to this session at the issuer."""
    query = (
        select(admin_sessions.c.operator)
        .join(operators, operators.c.name == admin_sessions.c.operator)
        .where(admin_sessions.c.issuer_session == issuer_session, operators.c.issuer == issuer)
        .distinct()
        .order_by(admin_sessions.c.operator)
    )
    return list(conn.execute(query).scalars())


def delete_ended(tx: WriteTx, now: datetime) -> None:
    """Delete expired sessions."""
    tx.conn.execute(delete(admin_sessions).where(admin_sessions.c.expires_at <= now))


def find_session(conn: Connection, session_id: str) -> AdminSessionRecord | None:
    """Return the session with this ID, or None."""
    row = conn.execute(select(admin_sessions).where(admin_sessions.c.id == session_id)).first()
    return None if row is None else from_row(AdminSessionRecord, row)


def open_among(
    conn: Connection, session_ids: Collection[str], *, now: datetime, used_after: datetime
) -> set[str]:
    """Return which of these sessions are open: not expired, and used after a time."""
    table = admin_sessions.c
    query = select(table.id).where(
        table.id.in_(session_ids),
        table.expires_at > now,
        func.coalesce(table.used_at, table.created_at) > used_after,
    )
    return set(conn.execute(query).scalars())


def find_with_operator(conn: Connection, digest: bytes) -> tuple[AdminSessionRecord, OperatorRecord] | None:
    """Return the session whose token has this digest, with its operator in the current state, or None."""
    row = conn.execute(select(admin_sessions).where(admin_sessions.c.digest == digest)).first()
    if row is None:
        return None
    session = from_row(AdminSessionRecord, row)
    operator = find_operator(conn, session.operator)
    return None if operator is None else (session, operator)


def list_sessions(conn: Connection, *, operator: str | None) -> list[AdminSessionRecord]:
    """Return sessions, the latest first: of one operator, or of all."""
    query = select(admin_sessions).order_by(admin_sessions.c.created_at.desc())
    if operator is not None:
        query = query.where(admin_sessions.c.operator == operator)
    return [from_row(AdminSessionRecord, row) for row in conn.execute(query)]
