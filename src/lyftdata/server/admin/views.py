"""Converts records to the API's models: stable keys, snake_case, ISO 8601 UTC, no secrets."""

from collections.abc import Sequence
from datetime import datetime

from lyftdata.core.keyring import active_key
from lyftdata.core.records import (
    ApiKeyRecord,
    ChainedAuditEvent,
    IdentityCopyRecord,
    RefusalAttempt,
    SigningKeyRecord,
    WorkerSessionRecord,
)
from lyftdata.core.records import (
    RefusalGroup as RefusalGroupRecord,
)
from lyftdata.core.refusals import cause_of
from lyftdata.core.registration_groups import RegistrationGroup
from lyftdata.core.standing import Problem, key_end
from lyftdata.server.admin.schemas.api_keys import KeyStatus
from lyftdata.server.admin.schemas.audit import AuditEvent
from lyftdata.server.admin.schemas.refusals import Refusal, RefusalGroup
from lyftdata.server.admin.schemas.signing_keys import SigningKey, SigningKeyState
from lyftdata.server.admin.schemas.workers import IdentityCopy, RepeatedRegistration, WorkerSession


def worker_session_view(record: WorkerSessionRecord, *, is_open: bool) -> WorkerSession:
    """Build the view of a session."""
    return WorkerSession(
        started_at=record.started_at,
        ended_at=record.ended_at,
        end=record.end,
        is_open=is_open,
        address=record.address,
        host=record.host,
    )


def identity_copy_view(record: IdentityCopyRecord) -> IdentityCopy:
    """Build the view of a copy of an identity."""
    return IdentityCopy(
        reference=record.reference,
        found_at=record.found_at,
        last_at=record.last_at,
        host=record.host,
        address=record.address,
        other_host=record.other_host,
        other_address=record.other_address,
        decision=record.decision,
        decided_at=record.decided_at,
        decided_by=record.decided_by,
    )


def repeated_registration_view(group: RegistrationGroup) -> RepeatedRegistration:
    """Build the view of a client that registers again and again."""
    return RepeatedRegistration(
        name=group.name, address=group.address, replaced=len(group.replaced), latest_at=group.latest_at
    )


def key_status(record: ApiKeyRecord, now: datetime) -> KeyStatus:
    """Return `live`, `expired` or `revoked`."""
    match key_end(record, now=now):
        case Problem.API_KEY_REVOKED:
            return "revoked"
        case None:
            return "live"
        case _:
            return "expired"


def refusal_group_view(group: RefusalGroupRecord) -> RefusalGroup:
    """Build the view of a group of refusals, with the meaning of its cause and the remedy."""
    cause = cause_of(group.code)
    return RefusalGroup(
        code=group.code,
        claimed_worker=group.claimed_worker,
        address=group.address,
        count=group.count,
        first_at=group.first_at,
        last_at=group.last_at,
        last_reference=group.last_reference,
        last_detail=group.last_detail,
        meaning=cause.meaning if cause else "",
        remedy=cause.remedy if cause else "",
    )


def refusal_view(attempt: RefusalAttempt) -> Refusal:
    """Build the view of one refused attempt, with its full cause."""
    cause = cause_of(attempt.code)
    return Refusal(
        reference=attempt.reference,
        code=attempt.code,
        at=attempt.at,
        address=attempt.address,
        claimed_worker=attempt.claimed_worker,
        detail=attempt.detail,
        proved=attempt.proved,
        api_key=attempt.api_key,
        other_worker=attempt.other_worker,
        meaning=cause.meaning if cause else "",
        remedy=cause.remedy if cause else "",
    )


def audit_view(chained: ChainedAuditEvent) -> AuditEvent:
    """Build the view of an audit event, with its position in the chain."""
    event = chained.event
    return AuditEvent(
        number=chained.number,
        at=event.at,
        actor=event.actor,
        action=event.action,
        subject=event.subject,
        address=event.address,
        details=event.details,
        hash=chained.hash.hex(),
    )


def signing_key_views(records: Sequence[SigningKeyRecord], now: datetime) -> list[SigningKey]:
    """Build the views of signing keys, with their current states."""
    active = active_key(records, now)

    def state(record: SigningKeyRecord) -> SigningKeyState:
        if record.kid == active.kid:
            return "signing"
        return "next" if record.signs_from > active.signs_from else "retired"

    return [
        SigningKey(
            kid=record.kid,
            algorithm=record.algorithm,
            state=state(record),
            created_at=record.created_at,
            signs_from=record.signs_from,
            retires_at=record.retires_at,
        )
        for record in records
    ]
