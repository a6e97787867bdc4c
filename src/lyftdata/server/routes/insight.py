"""What operators look at: Auto-Enrollment's state, refusals, the audit log, the Server itself, live events."""

import functools
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Annotated

import msgspec
from fastapi import APIRouter, Depends, Query
from starlette.responses import StreamingResponse

import lyftdata
from lyftdata.core.errors import ConflictError, NotFoundError
from lyftdata.server import models
from lyftdata.server.actor import Actor
from lyftdata.server.events import Event
from lyftdata.server.routes.deps import ServicesDep, allowed
from lyftdata.server.services import Services
from lyftdata.server.views import audit_view, enrollment_view, refusal_group_view, refusal_view, worker_view
from lyftdata.store import audit, refusals, traces

router = APIRouter()

_EXPORT_BATCH = 1_000
_STILL_THERE_EVERY_S = 15.0
_CHECK_SESSION_AFTER = timedelta(seconds=1)


@router.get("/enrollment", tags=["enrollment"], summary="Show Auto-Enrollment")
async def enrollment(
    _actor: Annotated[Actor, Depends(allowed("enrollment.read"))], services: ServicesDep
) -> models.EnrollmentStatus:
    """Return whether it is on, and the fingerprints of the secrets in force."""
    return enrollment_view(services)


@router.get("/refusals", tags=["refusals"], summary="List refusals")
async def list_refusals(
    _actor: Annotated[Actor, Depends(allowed("refusals.read"))],
    services: ServicesDep,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    code: Annotated[str | None, Query(max_length=64)] = None,
    q: Annotated[str | None, Query(max_length=128, description="Part of a Worker or an address.")] = None,
) -> models.RefusalPage:
    """Return refused attempts grouped by cause, claimed Worker and address, the latest first."""
    await services.refusals.flush()
    groups = await services.store.read(lambda conn: refusals.list_groups(conn, limit=limit, code=code, q=q))
    return models.RefusalPage(items=[refusal_group_view(group) for group in groups])


@router.get("/refusals/{reference}", tags=["refusals"], summary="Show a refusal")
async def show_refusal(
    reference: str, _actor: Annotated[Actor, Depends(allowed("refusals.read"))], services: ServicesDep
) -> models.Refusal:
    """Return one refused attempt with the whole reason, by the reference that the Worker logged."""
    await services.refusals.flush()
    attempt = await services.store.read(lambda conn: refusals.find_reference(conn, reference.strip().upper()))
    if attempt is None:
        raise NotFoundError("refusal", reference)
    return refusal_view(attempt)


@router.get("/audit", tags=["audit"], summary="List audit events")
async def list_audit(
    _actor: Annotated[Actor, Depends(allowed("audit.read"))],
    services: ServicesDep,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    before: Annotated[int | None, Query(ge=1, le=2**63 - 1, description="`next` of the page before.")] = None,
    action: Annotated[str | None, Query(max_length=64)] = None,
    subject: Annotated[str | None, Query(max_length=128)] = None,
) -> models.AuditPage:
    """Return decisions about trust, the latest first."""
    events = await services.store.read(
        lambda conn: audit.list_events(conn, limit=limit, before=before, action=action, subject=subject)
    )
    following = events[-1].number if len(events) == limit else None
    return models.AuditPage(items=[audit_view(event) for event in events], next=following)


@router.get("/audit/verify", tags=["audit"], summary="Verify the audit log")
async def verify_audit(
    _actor: Annotated[Actor, Depends(allowed("audit.verify"))], services: ServicesDep
) -> models.AuditReport:
    """Check every link of the chain: no row was changed, removed, inserted or moved."""
    report = await services.store.verify_audit()
    return models.AuditReport(
        ok=report.ok,
        checked=report.checked,
        head_number=report.head_number,
        head_hash=report.head_hash.hex(),
        first_bad=report.first_bad,
        problem=report.problem,
    )


@router.get("/audit/export", tags=["audit"], summary="Export the audit log", response_class=StreamingResponse)
async def export_audit(
    _actor: Annotated[Actor, Depends(allowed("audit.read"))], services: ServicesDep
) -> StreamingResponse:
    """Return every event, the oldest first, a JSON object a line."""
    return StreamingResponse(_export(services), media_type="application/x-ndjson")


async def _export(services: Services) -> AsyncIterator[bytes]:
    after = 0
    while batch := await services.store.read(
        functools.partial(audit.events_after, after=after, limit=_EXPORT_BATCH)
    ):
        yield b"".join(audit_view(event).model_dump_json().encode() + b"\n" for event in batch)
        after = batch[-1].number


@router.get("/server", tags=["server"], summary="Show the Server")
async def server_status(
    _actor: Annotated[Actor, Depends(allowed("workers.read"))], services: ServicesDep
) -> models.ServerStatus:
    """Return version, issuer, counts and warnings."""
    return models.ServerStatus(
        version=lyftdata.__version__,
        issuer=services.issuer,
        started_at=services.started_at,
        enrollment_enabled=bool(services.enrollment.keys),
        workers=services.directory.worker_count(),
        online=services.sessions.online_count(),
        warnings=services.warnings,
    )


@router.get("/events", tags=["workers"], summary="Follow Workers live", response_class=StreamingResponse)
async def events(
    actor: Annotated[Actor, Depends(allowed("events.read"))], services: ServicesDep
) -> StreamingResponse:
    """Return server-sent events: `worker` with the Worker as it is now, `worker_deleted` with its ID."""
    if not services.events.has_room(actor.operator):
        raise ConflictError(
            "too_many_listeners", "Too many listeners are connected.", hint="Close some of them."
        )
    return StreamingResponse(
        _event_stream(services, actor), media_type="text/event-stream", headers={"Cache-Control": "no-store"}
    )


async def _event_stream(services: Services, actor: Actor) -> AsyncIterator[bytes]:
    """Stream until the Server stops or the operator's session ends: who was signed out must not go on listening."""
    yield b": connected\n\n"
    checked_at = services.clock()
    async for event in services.events.listen(actor.operator, every_s=_STILL_THERE_EVERY_S):
        if services.clock() - checked_at >= _CHECK_SESSION_AFTER or event is None:
            if not await services.operators.is_signed_in(actor):
                return
            checked_at = services.clock()
        yield b": still there\n\n" if event is None else await _as_sse(services, event)


async def _as_sse(services: Services, event: Event) -> bytes:
    worker = services.directory.find_worker(event.worker_id)
    if worker is None:
        return b"event: worker_deleted\ndata: " + msgspec.json.encode({"id": event.worker_id}) + b"\n\n"
    stored = await services.store.read(lambda conn: traces.find_traces(conn, [worker.id]))
    return (
        b"event: worker\ndata: " + worker_view(services, worker, stored).model_dump_json().encode() + b"\n\n"
    )
