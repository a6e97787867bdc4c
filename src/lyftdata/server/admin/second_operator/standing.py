"""Whether a request still stands, and who can confirm it; read from the database each time, so that every Server says the same."""

import hashlib
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import Connection

from lyftdata.core.api_tokens import ApiTokenStatus, status_of
from lyftdata.core.change_requests import ENDED_BY_OTHERS, VOIDING, ChangeRequestRecord, RequestState
from lyftdata.core.records import OperatorRecord, Role
from lyftdata.core.scopes import Scope, scope_of
from lyftdata.store import audit_log
from lyftdata.store.tables import api_tokens, operators, passkeys, second_factors


def requester_mark(conn: Connection, name: str) -> str:
    """
    Return a digest of an operator's account and of what they prove who they are by; "" if there is no such operator.

    An operator who was deleted and made again is another one: the time at which they were made is in it.
    """
    record = operators.find_operator(conn, name)
    if record is None:
        return ""
    described = [
        record.created_at,
        record.role,
        record.password_hash,
        record.issuer,
        record.subject,
        record.password_expires_at,
        record.scope,
        [factor.id for factor in second_factors.factors_of(conn, name)],
        [passkey.id for passkey in passkeys.passkeys_of(conn, name)],
    ]
    return hashlib.sha256(msgspec.json.encode(described, order="deterministic")).hexdigest()


def state_of(conn: Connection, record: ChangeRequestRecord, *, now: datetime) -> RequestState:
    """Return how a request stands now."""
    if record.state is not RequestState.PENDING:
        return record.state
    if now >= record.expires_at:
        return RequestState.EXPIRED
    return RequestState.VOID if find_void_cause(conn, record, now=now) else RequestState.PENDING


def find_void_cause(
    conn: Connection,
    record: ChangeRequestRecord,
    *,
    now: datetime,
    unwritten: Sequence[Mapping[str, Any]] = (),
) -> str | None:
    """
    Return what has happened to the requester since, after which their request is not carried out; None for nothing.

    Persistence: who got hold of an operator's session or token must not have something carried out after they were thrown out.
    `unwritten` is `WriteTx.unwritten`, within a transaction.
    """
    name = f"operator:{record.operator}"
    actions = VOIDING | {ENDED_BY_OTHERS}
    for chained in audit_log.events_about(conn, name, actions, after=record.event, unwritten=unwritten):
        event = chained.event
        if event.action != ENDED_BY_OTHERS or event.actor != name:
            return event.action
    mark = requester_mark(conn, record.operator)
    if not mark or mark != record.requester_mark:
        return "operator_changed"
    if record.api_token is None:
        return None
    token = api_tokens.find_api_token(conn, record.api_token)
    is_live = token is not None and status_of(token, now=now) is ApiTokenStatus.LIVE
    return None if is_live else "api_token_ended"


def able_to_confirm(
    conn: Connection, *, now: datetime, besides: str | None = None, scope: Scope | None = None
) -> list[OperatorRecord]:
    """
    Return the operators who can confirm.

    Args:
        conn: A connection.
        now: Aware UTC time.
        besides: Who cannot: the requester.
        scope: What a request is limited to; None for those without a limit alone.
    """
    return [
        record
        for record in operators.all_operators(conn)
        if record.name != besides and is_able(record, scope, now=now)
    ]


def is_able(record: OperatorRecord, scope: Scope | None, *, now: datetime) -> bool:
    """Return whether an operator can confirm what is limited so; None is what only those without a limit can."""
    is_over = record.password_expires_at is not None and record.password_expires_at <= now
    # A first password was shown to another operator, who could be both.
    if record.role is not Role.ADMIN or is_over or record.must_change_password:
        return False
    own = scope_of(record.scope)
    return not own.is_limited or (scope is not None and scope.is_within(own))
