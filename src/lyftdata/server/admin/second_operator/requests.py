"""Lets operators decide about requests that wait for a second operator."""

from datetime import timedelta

import msgspec
from sqlalchemy import Connection

from lyftdata.core.actor import Actor, Confirmation
from lyftdata.core.change_requests import (
    MAX_REASON,
    ChangeRequestRecord,
    RequestState,
    described,
)
from lyftdata.core.errors import ConflictError, ForbiddenError, InvalidInputError, NotFoundError
from lyftdata.core.known_secrets import KnownSecrets
from lyftdata.core.notes import read_note
from lyftdata.core.policy import check_allowed, lesser_role
from lyftdata.core.records import AuditEvent, Role
from lyftdata.core.scopes import scope_of
from lyftdata.server.admin.second_operator.carry_out import CarryOut, Outcome
from lyftdata.server.admin.second_operator.gate import (
    RequestConflictError,
    check_decider,
    check_pending,
    decided_already,
    effect_changed,
    get_request,
    request_subject,
)
from lyftdata.server.admin.second_operator.standing import find_void_cause, state_of
from lyftdata.server.clock import Clock
from lyftdata.store import Store, WriteTx
from lyftdata.store.tables import change_requests, operators

_KEPT_FOR = timedelta(days=30)
_ENDED = {RequestState.EXPIRED: "change_request.expired", RequestState.VOID: "change_request.void"}


class ChangeRequests:
    """
    Decisions about requests that wait for a second operator.

    Args:
        store: Stores the requests.
        carry_out: Carries out a confirmed request.
        known_secrets: What no text may contain.
        clock: Aware UTC time.
    """

    def __init__(
        self, *, store: Store, carry_out: CarryOut, known_secrets: KnownSecrets, clock: Clock
    ) -> None:
        self._store = store
        self._carry_out = carry_out
        self._known_secrets = known_secrets
        self._clock = clock

    async def confirm(self, request_id: str, note: str, *, actor: Actor) -> Outcome:
        """
        Confirm what another operator requested, and carry it out, both in one transaction.

        Raises:
            NotFoundError: No such request within the scope.
            ForbiddenError: The caller requested it, or could not do it themselves.
            ConflictError: `effect_changed`, `request_decided`, `request_expired`, `request_void`; nothing was done.
            NotSignedInError: The session has ended in the meantime.
        """
        note = self._read_text("note", note)
        # Checked first: errors below must reveal nothing to a caller who may not decide.
        record = await self._store.write(lambda tx: self._check(tx, request_id, actor))
        requester = await self._requester(record, actor)
        confirmation = Confirmation(
            request_id=record.id, by=actor, note=note, requested_at=record.requested_at
        )
        try:
            outcome = await self._carry_out(
                record.asked, actor=msgspec.structs.replace(requester, confirmation=confirmation)
            )
        except RequestConflictError:
            raise
        except (ConflictError, InvalidInputError, NotFoundError) as error:
            raise effect_changed(f"it is not possible any more. {error.message}") from error
        after = await self._store.read(lambda conn: change_requests.find_request(conn, request_id))
        if after is None or after.state is not RequestState.CONFIRMED:
            # The use case had nothing to do, and did not reach the gate.
            raise effect_changed("it is so already.")
        return outcome

    async def decline(self, request_id: str, note: str, *, actor: Actor) -> None:
        """Decline what another operator requested; raises like `confirm`."""
        note = self._read_text("note", note)
        now = self._clock()

        def op(tx: WriteTx) -> None:
            record = self._check(tx, request_id, actor)
            self._end(tx, record, RequestState.DECLINED, actor, note)
            details = described(record.asked) | {"requested_by": record.audit_name, "note": note}
            tx.audit(
                actor.audit_event(
                    "change_request.declined", request_subject(request_id), at=now, details=details
                )
            )

        await self._store.write(op)

    async def withdraw(self, request_id: str, *, actor: Actor) -> None:
        """Withdraw the caller's own request, made by a session or an API token; raises like `confirm`."""

        def op(tx: WriteTx) -> None:
            record = self._get_own(tx, request_id, actor)
            self._end(tx, record, RequestState.WITHDRAWN, actor, "")
            tx.audit(
                actor.audit_event(
                    "change_request.withdrawn",
                    request_subject(request_id),
                    at=self._clock(),
                    details=described(record.asked),
                )
            )

        await self._store.write(op)

    async def explain(self, request_id: str, reason: str, *, actor: Actor) -> None:
        """
        Give the reason for the caller's own request, once: what others have read must not change.

        Raises:
            InvalidInputError: Empty, too long, or containing a secret.
            ConflictError: `reason_given`, `request_decided`.
        """
        reason = self._read_text("reason", reason)
        if not reason:
            raise InvalidInputError("reason", "must be given")

        def op(tx: WriteTx) -> None:
            record = self._get_own(tx, request_id, actor)
            if record.state is not RequestState.PENDING:
                raise decided_already(record)
            if record.reason:
                raise ConflictError("reason_given", "This request has its reason already.")
            change_requests.give_reason(tx, request_id, reason)
            tx.audit(
                actor.audit_event(
                    "change_request.explained",
                    request_subject(request_id),
                    at=self._clock(),
                    details={"reason": reason},
                )
            )

        await self._store.write(op)

    async def expire(self) -> None:
        """End the requests that are expired or void, with an audit event each, and delete old ones."""
        now = self._clock()

        def has_some(conn: Connection) -> bool:
            if change_requests.has_decided_before(conn, now - _KEPT_FOR):
                return True
            found = change_requests.all_pending(conn)
            return any(state_of(conn, one, now=now) is not RequestState.PENDING for one in found)

        def op(tx: WriteTx) -> None:
            change_requests.delete_decided_before(tx, now - _KEPT_FOR)
            for record in change_requests.all_pending(tx.conn):
                state = state_of(tx.conn, record, now=now)
                if state is RequestState.PENDING:
                    continue
                if change_requests.decide_request(tx, record.id, state, by="server", note="", at=now):
                    cause = find_void_cause(tx.conn, record, now=now) if state is RequestState.VOID else None
                    details = {"requested_by": record.audit_name} | ({"cause": cause} if cause else {})
                    tx.audit(
                        AuditEvent(
                            at=now,
                            actor="server",
                            action=_ENDED[state],
                            subject=request_subject(record.id),
                            details=described(record.asked) | details,
                        )
                    )

        if await self._store.read(has_some):
            await self._store.write(op)

    def _check(self, tx: WriteTx, request_id: str, actor: Actor) -> ChangeRequestRecord:
        now = self._clock()
        record = get_request(tx, request_id, actor)
        check_decider(tx, record, record.asked, actor, now)
        check_pending(tx, record, now)
        return record

    def _get_own(self, tx: WriteTx, request_id: str, actor: Actor) -> ChangeRequestRecord:
        record = get_request(tx, request_id, actor)
        if record.operator != actor.operator:
            raise ForbiddenError("Only the operator who has asked for it can do this.")
        return record

    def _end(
        self, tx: WriteTx, record: ChangeRequestRecord, state: RequestState, actor: Actor, note: str
    ) -> None:
        if not change_requests.decide_request(
            tx, record.id, state, by=actor.audit_name, note=note, at=self._clock()
        ):
            raise decided_already(record)

    async def _requester(self, record: ChangeRequestRecord, confirmer: Actor) -> Actor:
        """
        Return the requester, as whom it is carried out: with no more rights than they have now, and no more than the confirmer.
        """
        operator = await self._store.read(lambda conn: operators.find_operator(conn, record.operator))
        role = Role.VIEWER if operator is None else operator.role
        requester = Actor(
            operator=record.operator,
            role=lesser_role(role, confirmer.role),
            # Without a session: no such operation needs one.
            session_id=request_subject(record.id),
            address=record.address,
            api_token=record.api_token,
            scope=scope_of(record.scope).narrowed(confirmer.scope),
        )
        check_allowed(record.asked.policy_action, actor=requester, in_scope=True)
        return requester

    def _read_text(self, field: str, text: str) -> str:
        return read_note(field, text, max_length=MAX_REASON, known_secrets=self._known_secrets)
