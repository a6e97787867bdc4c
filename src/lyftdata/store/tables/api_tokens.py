"""Table of API tokens: digests of their secrets, never the tokens."""

from collections.abc import Collection, Mapping
from datetime import datetime

from sqlalchemy import ColumnElement, Connection, bindparam, insert, or_, select, true, update
from sqlalchemy.exc import IntegrityError

from lyftdata.core.errors import ConflictError
from lyftdata.core.records import ApiTokenRecord, OperatorRecord
from lyftdata.store.rows import from_row, to_row
from lyftdata.store.schema import api_tokens, operators
from lyftdata.store.tables.operators import find_operator
from lyftdata.store.writer.transaction import WriteTx


def insert_api_token(tx: WriteTx, record: ApiTokenRecord) -> None:
    """
    Add a token.

    Raises:
        ConflictError: `api_token_name_taken`, even if the other token has ended: a name in the audit log must mean one token.
    """
    if find_api_token(tx.conn, record.name) is not None:
        raise _name_taken(record.name)
    try:
        tx.conn.execute(insert(api_tokens), to_row(record))
    except IntegrityError as error:
        raise _name_taken(record.name) from error


def revoke_api_token(tx: WriteTx, name: str, now: datetime) -> None:
    """Revoke a token; one that was already revoked keeps its time of revocation."""
    _revoke(tx, api_tokens.c.name == name, now)


def revoke_api_tokens_of(tx: WriteTx, operator: str, now: datetime) -> list[str]:
    """Revoke every token that acts for an operator; return the names of those that were not yet revoked."""
    theirs = (api_tokens.c.operator == operator) & api_tokens.c.revoked_at.is_(None)
    names = list(
        tx.conn.execute(select(api_tokens.c.name).where(theirs).order_by(api_tokens.c.name)).scalars()
    )
    _revoke(tx, theirs, now)
    return names


def touch_last_used(tx: WriteTx, uses: Mapping[str, tuple[datetime, str]]) -> None:
    """Record when and from which address tokens were last used, by public id; a later use at another Server is kept."""
    if not uses:
        return
    table = api_tokens.c
    is_older = or_(table.last_used_at.is_(None), table.last_used_at < bindparam("at"))
    statement = (
        update(api_tokens)
        .where((table.public_id == bindparam("token")) & is_older)
        .values(last_used_at=bindparam("at"), last_used_from=bindparam("address"))
    )
    rows = [{"token": token, "at": at, "address": address} for token, (at, address) in uses.items()]
    tx.conn.execute(statement, rows)


def names_of(conn: Connection, operator: str) -> list[str]:
    """Return the names of all tokens that act, or acted, for an operator."""
    return list(conn.execute(select(api_tokens.c.name).where(api_tokens.c.operator == operator)).scalars())


def find_api_token(conn: Connection, name: str) -> ApiTokenRecord | None:
    """Return the token of this name, or None."""
    return next(iter(_select(conn, api_tokens.c.name == name)), None)


def find_with_operator(
    conn: Connection, public_id: str
) -> tuple[ApiTokenRecord | None, OperatorRecord | None]:
    """Return the token with this public id and the operator it acts for, in their current state; None for what does not exist."""
    record = next(iter(_select(conn, api_tokens.c.public_id == public_id)), None)
    return record, None if record is None else find_operator(conn, record.operator)


def all_api_tokens(conn: Connection) -> list[ApiTokenRecord]:
    """Return every token, by name, including those that have ended."""
    return _select(conn, true())


def live_among(
    conn: Connection, public_ids: Collection[str], *, now: datetime
) -> list[tuple[ApiTokenRecord, OperatorRecord]]:
    """Return which of these tokens are valid now, each with the operator it acts for."""
    table = api_tokens.c
    is_live = table.public_id.in_(public_ids) & table.revoked_at.is_(None) & (table.expires_at > now)
    live = _select(conn, is_live)
    names = {record.operator for record in live}
    query = select(operators).where(operators.c.name.in_(names))
    by_name = {row.name: from_row(OperatorRecord, row) for row in conn.execute(query)}
    return [
        (record, operator)
        for record in live
        if (operator := by_name.get(record.operator)) is not None and operator.created_at <= record.created_at
    ]


def _revoke(tx: WriteTx, which: ColumnElement[bool], now: datetime) -> None:
    statement = update(api_tokens).where(which & api_tokens.c.revoked_at.is_(None))
    tx.conn.execute(statement.values(revoked_at=now))


def _select(conn: Connection, condition: ColumnElement[bool]) -> list[ApiTokenRecord]:
    query = select(api_tokens).where(condition).order_by(api_tokens.c.name)
    return [from_row(ApiTokenRecord, row) for row in conn.execute(query)]


def _name_taken(name: str) -> ConflictError:
    return ConflictError(
        "api_token_name_taken",
        f"There is an API token named '{name}' already, or there was one.",
        hint="Choose another name: the audit log names tokens by it.",
    )
