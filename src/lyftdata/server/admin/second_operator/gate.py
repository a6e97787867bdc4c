"""
The gate for actions that a second operator must confirm: every use case with such an action passes it, in its own transaction.

    async with self._gate.asking(actor):
        await self._store.write(op)         # op calls gate.check(tx, SetRole(...), actor=actor)

`check` allows what the rules do not name. What they name it stops, and `asking` turns the stopped transaction into a request, which
is stored in another one. When a second operator confirms, the use case runs again, as the requester, and `check` then uses up the
request in the same transaction as the action: both happen, or neither.
"""

import contextlib
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Final

from lyftdata.core.actor import Actor, CredentialKind
from lyftdata.core.api_tokens import ApiTokenStatus, status_of
from lyftdata.core.change_requests import (
    MAX_MADE_OF_ONE,
    MAX_PENDING,
    MAX_PENDING_OF_ONE,
    ChangeRequestRecord,
    Operation,
    RequestState,
    described,
    encode_operation,
)
from lyftdata.core.errors import (
    ConflictError,
    ForbiddenError,
    InvalidInputError,
    NotFoundError,
    NotSignedInError,
    SecondOperatorRequiredError,
)
from lyftdata.core.policy import check_allowed
from lyftdata.core.scopes import scope_of
from lyftdata.core.second_operator import COUNTED_WITHIN, LIFE, ProtectedAction, SecondOperatorRules
from lyftdata.core.times import format_time
from lyftdata.server.admin.second_operator.standing import (
    able_to_confirm,
    find_void_cause,
    is_able,
    requester_mark,
)
from lyftdata.server.admin.session_checks import get_own_session
from lyftdata.server.clock import Clock, RandomBytes
from lyftdata.store import Store, WriteTx, audit_log
from lyftdata.store.tables import api_tokens, change_requests, operators, second_operator_rules

MIN_ABLE = 2
_ID_BYTES = 6
_COUNTED = {
    ProtectedAction.DELETE_WORKERS: ("worker.deleted", "delete"),
    ProtectedAction.DISABLE_WORKERS: ("worker.disabled", "disable"),
}


class _StoppedError(Exception):
    """A second operator must confirm this; the transaction in which it is raised is rolled back."""

    def __init__(self, operation: Operation) -> None:
        super().__init__(operation.protected)
        self.operation: Final = operation


class RequestConflictError(ConflictError):
    """A request cannot be carried out or decided in its current state."""


class SecondOperatorGate:
    """
    Stops actions that a second operator must confirm, and allows them once one has.

    Args:
        store: Stores rules and requests.
        clock: Aware UTC time.
        random_bytes: Generates IDs.
    """

    def __init__(self, *, store: Store, clock: Clock, random_bytes: RandomBytes) -> None:
        self._store = store
        self._clock = clock
        self._random_bytes = random_bytes

    @contextlib.asynccontextmanager
    async def asking(self, actor: Actor) -> AsyncIterator[None]:
        """
        Turn what `check` stops within the block into a request.

        Raises:
            SecondOperatorRequiredError: It was stopped, and now waits for a second operator.
            ConflictError: `too_many_change_requests`.
        """
        try:
            yield
        except _StoppedError as stopped:
            operation = stopped.operation
        else:
            return
        raise await self._store.write(lambda tx: self._ask(tx, operation, actor))

    def check(self, tx: WriteTx, operation: Operation, *, actor: Actor, has_secret: bool = False) -> None:
        """
        Stop an operation that a second operator must confirm, or use up the confirmed request.

        Call it within the transaction that carries it out, before anything is written in it.

        Args:
            tx: The transaction.
            operation: What is about to be done, in the current state.
            actor: Who does it.
            has_secret: Whether the caller chose a password for it, which a request must not store.

        Raises:
            ConflictError: `effect_changed`, `request_void`, `request_expired`, `request_decided`: it is not carried out.
            ForbiddenError, NotFoundError, NotSignedInError: The operator who confirms it may not.
            InvalidInputError: A second operator must confirm it, and a password was given.
        """
        if actor.confirmation is not None:
            self._use_request(tx, operation, actor)
            return
        rules = second_operator_rules.find_rules(tx.conn)
        if rules is None or not self._is_stopped(tx, operation, rules, actor):
            return
        if has_secret:
            raise InvalidInputError(
                "password", "must be left out: another operator confirms this, and is shown a random one"
            )
        raise _StoppedError(operation)

    def pass_by(self, actor: Actor) -> None:
        """
        Declare that the next action needs no second operator.

        Raises:
            ConflictError: `effect_changed`: a request is being confirmed, but would be carried out without being used up.
        """
        if actor.confirmation is not None:
            raise effect_changed("it would not be what was asked for: by now, one operator may do it alone.")

    def check_enough_left(self, tx: WriteTx, name: str) -> None:
        """
        Reject removing an operator if too few who can confirm would be left; raises ConflictError `second_operator_needed`.
        """
        if second_operator_rules.find_rules(tx.conn) is None:
            return
        now = self._clock()
        record = operators.find_operator(tx.conn, name)
        is_one = record is not None and is_able(record, None, now=now)
        if is_one and len(able_to_confirm(tx.conn, now=now, besides=name)) < MIN_ABLE:
            raise ConflictError(
                "second_operator_needed",
                f"Without '{name}' fewer than two operators could confirm what a second operator must confirm.",
                hint="Make another admin without a limit first. On the Server's host: lyftdata admin second-operator-off",
            )

    def _is_stopped(
        self, tx: WriteTx, operation: Operation, rules: SecondOperatorRules, actor: Actor
    ) -> bool:
        if not rules.requires(operation.protected):
            return False
        counted = _COUNTED.get(operation.protected)
        if counted is None:
            return True
        number = len(operation.workers)
        if 0 < number <= rules.above:
            # Evasion: a thousand changes of one Worker each count like one change of a thousand.
            names = [f"api_token:{name}" for name in api_tokens.names_of(tx.conn, actor.operator)]
            number += audit_log.count_by(
                tx.conn,
                [f"operator:{actor.operator}", *names],
                counted[0],
                cut_off=counted[1],
                since=self._clock() - COUNTED_WITHIN,
                unwritten=tx.unwritten,
            )
        return number > rules.above

    def _ask(self, tx: WriteTx, operation: Operation, actor: Actor) -> SecondOperatorRequiredError:
        now = self._clock()
        # Persistence: a request by an operator who was locked out in the meantime would be newer than that, and so not be voided by it.
        _check_signed_in(tx, actor, now)
        text = encode_operation(operation)
        # A script may repeat the action: its request is already pending.
        same = [
            record
            for record in change_requests.find_pending_of(tx.conn, actor.operator, text)
            if record.api_token == actor.api_token
            and now < record.expires_at
            and find_void_cause(tx.conn, record, now=now, unwritten=tx.unwritten) is None
        ]
        record = same[0] if same else self._make(tx, text, operation, actor)
        scope = scope_of(record.scope)
        able = able_to_confirm(tx.conn, now=now, besides=record.operator, scope=scope)
        return SecondOperatorRequiredError(
            record.id,
            statement=operation.statement,
            expires_at=format_time(record.expires_at),
            # Other operators are outside every scope.
            confirmers=[] if scope.is_limited else [one.name for one in able],
        )

    def _make(self, tx: WriteTx, text: str, operation: Operation, actor: Actor) -> ChangeRequestRecord:
        since = self._clock() - LIFE
        # Resource exhaustion: an operator could fill the database by withdrawing and repeating requests.
        if (
            change_requests.count_pending(tx.conn) >= MAX_PENDING
            or change_requests.count_pending(tx.conn, actor.operator) >= MAX_PENDING_OF_ONE
            or change_requests.count_made(tx.conn, actor.operator, since=since) >= MAX_MADE_OF_ONE
        ):
            raise ConflictError(
                "too_many_change_requests",
                "Too many requests wait for a second operator, or you have made too many within a day; nothing was done.",
                hint="Withdraw some, or wait: lyftdata requests list",
            )
        now, request_id = self._clock(), self._random_bytes(_ID_BYTES).hex()
        details = described(operation) | {"expires_at": format_time(now + LIFE)}
        tx.audit(
            actor.audit_event("change_request.made", request_subject(request_id), at=now, details=details)
        )
        record = ChangeRequestRecord(
            id=request_id,
            operation=text,
            operator=actor.operator,
            api_token=actor.api_token,
            requester_mark=requester_mark(tx.conn, actor.operator),
            scope=dict(actor.scope.required) if actor.scope.is_limited else None,
            address=actor.address,
            event=tx.head.number,
            reason="",
            requested_at=now,
            expires_at=now + LIFE,
        )
        change_requests.insert_request(tx, record)
        return record

    def _use_request(self, tx: WriteTx, operation: Operation, actor: Actor) -> None:
        """Use up the confirmed request, if it is still valid and this is the requested operation."""
        confirmation = actor.confirmation
        assert confirmation is not None  # noqa: S101 - narrows the type
        now, by = self._clock(), confirmation.by
        record = get_request(tx, confirmation.request_id, by)
        check_pending(tx, record, now)
        check_decider(tx, record, operation, by, now)
        asked = record.asked
        if not operation.is_within(asked):
            raise effect_changed(
                f"it would not be what was asked for. Asked for: {asked.statement} Now: {operation.statement}"
            )
        if not change_requests.decide_request(
            tx, record.id, RequestState.CONFIRMED, by=by.audit_name, note=confirmation.note, at=now
        ):
            raise decided_already(record)
        details = described(asked) | {
            "requested_by": record.audit_name,
            "reason": record.reason,
            "note": confirmation.note,
        }
        tx.audit(
            by.audit_event("change_request.confirmed", request_subject(record.id), at=now, details=details)
        )


def _check_signed_in(tx: WriteTx, actor: Actor, now: datetime) -> None:
    if actor.api_token is None:
        get_own_session(tx, actor)
        return
    token = api_tokens.find_api_token(tx.conn, actor.api_token)
    if token is None or status_of(token, now=now) is not ApiTokenStatus.LIVE:
        raise NotSignedInError("The API token has ended.")


def get_request(tx: WriteTx, request_id: str, actor: Actor) -> ChangeRequestRecord:
    """Return a request within the caller's scope; raises NotFoundError."""
    record = change_requests.find_request(tx.conn, request_id)
    if record is None or not scope_of(record.scope).is_within(actor.scope):
        raise NotFoundError("change_request", request_id)
    return record


def check_pending(tx: WriteTx, record: ChangeRequestRecord, now: datetime) -> None:
    """
    Reject a decision on a request that is no longer pending.

    Raises:
        ConflictError: `request_decided`, `request_expired`, `request_void`.
    """
    if record.state is not RequestState.PENDING:
        raise decided_already(record)
    if now >= record.expires_at:
        raise RequestConflictError(
            "request_expired", "Nothing was done: the request has expired.", hint=_AGAIN
        )
    if find_void_cause(tx.conn, record, now=now, unwritten=tx.unwritten) is not None:
        raise RequestConflictError(
            "request_void",
            f"Nothing was done: the account or the credentials of '{record.operator}' were changed after the request was made.",
            hint=_AGAIN,
        )


def check_decider(
    tx: WriteTx, record: ChangeRequestRecord, operation: Operation, by: Actor, now: datetime
) -> None:
    """
    Reject a decision by the requester, or by an operator who could not do it themselves; reads their current state.

    Raises:
        ForbiddenError: They may not decide.
        NotSignedInError: Their session has ended.
    """
    if by.credential is not CredentialKind.SESSION:
        raise ForbiddenError("An API token is no second operator.", hint="lyftdata login")
    # The same for the requester's API tokens, which act for them.
    if by.operator == record.operator:
        raise ForbiddenError(
            "You have asked for this yourself: another operator must confirm it.",
            hint="To take it back: lyftdata requests withdraw ID",
        )
    get_own_session(tx, by)
    current = operators.find_operator(tx.conn, by.operator)
    if current is None or not is_able(current, scope_of(record.scope), now=now):
        raise ForbiddenError(
            "You could not do this yourself, or have not changed your first password yet: you cannot confirm it.",
            hint="lyftdata password, or ask an admin.",
        )
    check_allowed(operation.policy_action, actor=by, in_scope=True)


def effect_changed(why: str) -> RequestConflictError:
    """Return the error for a request that would no longer have the effect that was requested."""
    return RequestConflictError(
        "effect_changed",
        f"Nothing was done, because {why}",
        hint="The requester withdraws the request, and asks again if it is still wanted.",
    )


def decided_already(record: ChangeRequestRecord) -> RequestConflictError:
    """Return the error for a request that was already decided."""
    who = f" by {record.decided_by.partition(':')[2]}" if record.decided_by else ""
    return RequestConflictError(
        "request_decided", f"Nothing was done: the request is {record.state.value} already{who}."
    )


def request_subject(request_id: str) -> str:
    """Return a request's name in the audit log."""
    return f"change_request:{request_id}"


_AGAIN = "It must be asked for again."
