"""Whether a request is still valid, and who can confirm it; read from the database each time, so that every Server agrees."""

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
    Return a digest of an operator's account and credentials; "" if there is no such operator.

    An operator who was deleted and created again is a different one: the time of creation is part of the digest.
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
    """Return the current state of a request."""
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
    Return what has happened to the requester that voids their request; None for nothing.

    Persistence: an attacker who got hold of an operator's session or token must not have something carried out after being locked out.
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
        besides: An operator who cannot confirm: the requester.
        scope: The scope of the request; None if only operators without a scope can confirm it.
    """
    return [
        record
        for record in operators.all_operators(conn)
        if record.name != besides and is_able(record, scope, now=now)
    ]


def is_able(record: OperatorRecord, scope: Scope | None, *, now: datetime) -> bool:
    """Return whether an operator can confirm a request of this scope; None means that only operators without a scope can."""
    is_over = record.password_expires_at is not None and record.password_expires_at <= now
    # A first password was shown to another operator, so that one person could be both.
    if record.role is not Role.ADMIN or is_over or record.must_change_password:
        return False
    own = scope_of(record.scope)
    return not own.is_limited or (scope is not None and scope.is_within(own))
