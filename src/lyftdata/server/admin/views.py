"""Records as the API shows them: stable keys, snake_case, ISO 8601 UTC, nothing secret."""

from collections.abc import Mapping
from datetime import datetime

from lyftdata.core.records import (
    ApiKeyRecord,
    ChainedAuditEvent,
    RefusalAttempt,
    ResourceRecord,
    State,
    Status,
    WorkerRecord,
    WorkerSessionRecord,
    WorkerTraces,
)
from lyftdata.core.records import (
    RefusalGroup as RefusalGroupRecord,
)
from lyftdata.core.refusals import cause_of
from lyftdata.core.resources import is_granted
from lyftdata.core.standing import Problem, key_end
from lyftdata.server.admin.schemas.api_keys import ApiKey, KeyStatus, PreviousKey
from lyftdata.server.admin.schemas.audit import AuditEvent
from lyftdata.server.admin.schemas.enrollment import EnrollmentKeyStatus, EnrollmentStatus, PreviousIssuer
from lyftdata.server.admin.schemas.refusals import Refusal, RefusalGroup
from lyftdata.server.admin.schemas.resources import Resource
from lyftdata.server.admin.schemas.workers import Worker, WorkerSession
from lyftdata.server.runtime.services import Services
from lyftdata.server.sessions.registry import Session, find_used_key
from lyftdata.store.tables import enrollment_key_uses


def status_of(services: Services, worker_id: str) -> Status:
    """Return whether a Worker is connected, was once, or never."""
    if services.sessions.is_online(worker_id):
        return Status.ONLINE
    return Status.OFFLINE if worker_id in services.traces.seen else Status.NEVER_CONNECTED


def state_of(services: Services, worker: WorkerRecord) -> State:
    """Return how an entry stands, in one word."""
    if worker.superseded_by is not None:
        return State.SUPERSEDED
    return State(status_of(services, worker.id).value) if worker.enabled else State.DISABLED


def worker_view(services: Services, worker: WorkerRecord, stored: Mapping[str, WorkerTraces]) -> Worker:
    """Join a Worker entry with its traces, written and not yet written, and its session."""
    traces = services.traces.pending(worker.id) or stored.get(worker.id) or WorkerTraces(worker_id=worker.id)
    session = services.sessions.find(worker.id)
    return Worker(
        id=worker.id,
        name=worker.name,
        strategy=worker.strategy,
        enabled=worker.enabled,
        status=status_of(services, worker.id),
        labels=worker.labels,
        last_seen_at=services.clock()
        if session is not None
        else services.traces.left_at(worker.id) or traces.last_seen_at,
        address=session.boot.address if session is not None else traces.address,
        enrolled_with=worker.enrolled_with,
        enrolled_from=worker.enrolled_from,
        api_key=traces.api_key_name if session is None else _used_key_name(services, session),
        created_at=worker.created_at,
        created_by=worker.created_by,
        superseded_by=worker.superseded_by,
        thumbprint=worker.thumbprint,
        dpop_bound=worker.dpop_bound,
        connected_since=session.since if session is not None else None,
        host=session.boot.host if session is not None else traces.host,
        reported_labels=session.boot.reported_labels if session is not None else {},
    )


def worker_session_view(record: WorkerSessionRecord, *, is_open: bool) -> WorkerSession:
    """Show a session."""
    return WorkerSession(
        started_at=record.started_at,
        ended_at=record.ended_at,
        end=record.end,
        is_open=is_open,
        address=record.address,
        host=record.host,
    )


def _used_key_name(services: Services, session: Session) -> str | None:
    key = find_used_key(session, services.directory.find_api_key)
    return None if key is None else key.name


def api_key_view(
    services: Services,
    generations: list[ApiKeyRecord],
    last_used: Mapping[str, tuple[datetime, str]],
    online: Mapping[str, list[str]],
) -> ApiKey:
    """Show a key by its newest generation; older ones that still work are `previous`."""
    now = services.clock()
    newest, *older = sorted(generations, key=lambda record: record.generation, reverse=True)
    first = older[-1] if older else newest
    uses = [
        use
        for record in generations
        if (use := services.traces.key_pending(record.public_id) or last_used.get(record.public_id))
        is not None
    ]
    used_at, used_by = max(uses, default=(None, None))
    return ApiKey(
        name=newest.name,
        public_id=newest.public_id,
        generation=newest.generation,
        for_all_workers=newest.for_all_workers,
        worker_ids=sorted(newest.worker_ids),
        created_at=first.created_at,
        created_by=first.created_by,
        rotated_at=newest.created_at if older else None,
        rotated_by=newest.created_by if older else None,
        expires_at=newest.expires_at,
        revoked_at=newest.revoked_at,
        status=key_status(newest, now),
        last_used_at=used_at,
        last_used_by=used_by,
        previous=[
            PreviousKey(public_id=record.public_id, expires_at=record.expires_at)
            for record in older
            if key_status(record, now) == "live"
        ],
        used_by=sorted(w for record in generations for w in online.get(record.public_id, ())),
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


def resource_view(services: Services, record: ResourceRecord) -> Resource:
    """Show a resource, with how many Workers it is for."""
    return Resource(
        name=record.name,
        audience=record.audience,
        scopes=record.scopes,
        for_all_workers=record.for_all_workers,
        include_enrolled=record.include_enrolled,
        worker_ids=record.worker_ids,
        worker_names=record.worker_names,
        labels=record.labels,
        workers=sum(is_granted(record, worker) for worker in services.directory.workers()),
        has_key=record.key_public_id is not None,
        created_at=record.created_at,
        created_by=record.created_by,
    )


async def enrollment_view(services: Services) -> EnrollmentStatus:
    """Show whether Auto-Enrollment is on, by fingerprints; the secret itself is never shown."""
    fingerprints = [accepted.fingerprint for accepted in services.enrollment.keys]
    used = await services.store.read(lambda conn: enrollment_key_uses.last_used(conn, fingerprints))
    keys = [
        EnrollmentKeyStatus(
            fingerprint=accepted.fingerprint,
            role=accepted.role,
            warnings=accepted.warnings,
            workers=services.directory.enrolled_with(accepted.fingerprint),
            last_used_at=services.traces.enrollment_key_pending(accepted.fingerprint)
            or used.get(accepted.fingerprint),
        )
        for accepted in services.enrollment.keys
    ]
    counts = services.directory.count_by_issuer()
    return EnrollmentStatus(
        enabled=bool(keys),
        name_policy=services.enrollment.name_policy,
        keys=keys,
        previous_issuers=[
            PreviousIssuer(issuer=issuer, workers=counts.get(issuer, 0))
            for issuer in services.previous_issuers
        ],
    )


def refusal_group_view(group: RefusalGroupRecord) -> RefusalGroup:
    """Show a group of refusals with what its cause means and its remedy."""
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
    """Show one refused attempt with the whole reason."""
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
    """Show an audit event with its place in the chain."""
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
