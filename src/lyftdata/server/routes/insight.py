"""What operators look at: Auto-Enrollment's state, refusals, the audit log, the Server itself, live events."""

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Annotated

import msgspec
from fastapi import APIRouter, Depends, Query
from starlette.responses import StreamingResponse

from lyftdata.core.errors import ConflictError, InvalidInputError
from lyftdata.core.refusals import all_causes, cause_of
from lyftdata.server import queries
from lyftdata.server.actor import Actor
from lyftdata.server.attention import find_concerns
from lyftdata.server.audit_export import MEDIA_TYPES, ExportForm, export
from lyftdata.server.events import Event
from lyftdata.server.models.audit import AuditPage, AuditReport
from lyftdata.server.models.enrollment import EnrollmentStatus
from lyftdata.server.models.refusals import Refusal, RefusalPage
from lyftdata.server.models.status import Concerns, History, Period, Servers, ServerStatus
from lyftdata.server.routes.deps import ServicesDep, allowed
from lyftdata.server.services import Services
from lyftdata.server.views import enrollment_view, worker_view
from lyftdata.store import traces

router = APIRouter()

_STILL_THERE_EVERY_S = 15.0
_CHECK_SESSION_AFTER = timedelta(seconds=1)


@router.get("/enrollment", tags=["enrollment"], summary="Show Auto-Enrollment")
async def enrollment(
    _actor: Annotated[Actor, Depends(allowed("enrollment.read"))], services: ServicesDep
) -> EnrollmentStatus:
    """Return whether it is on, and the fingerprints of the secrets in force."""
    return enrollment_view(services)


@router.get("/refusals", tags=["refusals"], summary="List refusals")
async def list_refusals(
    _actor: Annotated[Actor, Depends(allowed("refusals.read"))],
    services: ServicesDep,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    code: Annotated[str | None, Query(max_length=64)] = None,
    q: Annotated[str | None, Query(max_length=128, description="Part of a Worker or an address.")] = None,
) -> RefusalPage:
    """Return refused attempts grouped by cause, claimed Worker and address, the latest first."""
    if code is not None and cause_of(code) is None:
        # A misspelt cause would read as good news: nobody was refused for it.
        raise InvalidInputError("code", f"must be a cause of refusal, for example {all_causes()[0].code}")
    return RefusalPage(items=await queries.list_refusals(services, limit=limit, code=code, q=q))


@router.get("/refusals/{reference}", tags=["refusals"], summary="Show a refusal")
async def show_refusal(
    reference: str, _actor: Annotated[Actor, Depends(allowed("refusals.read"))], services: ServicesDep
) -> Refusal:
    """Return one refused attempt with the whole reason, by the reference that the Worker logged."""
    return await queries.get_refusal(services, reference)


@router.get("/audit", tags=["audit"], summary="List audit events")
async def list_audit(
    _actor: Annotated[Actor, Depends(allowed("audit.read"))],
    services: ServicesDep,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    before: Annotated[int | None, Query(ge=1, le=2**63 - 1, description="`next` of the page before.")] = None,
    action: Annotated[str | None, Query(max_length=64)] = None,
    subject: Annotated[str | None, Query(max_length=128)] = None,
) -> AuditPage:
    """Return decisions about trust, the latest first."""
    return await queries.list_audit(services, limit=limit, before=before, action=action, subject=subject)


@router.get("/audit/verify", tags=["audit"], summary="Verify the audit log")
async def verify_audit(
    _actor: Annotated[Actor, Depends(allowed("audit.verify"))], services: ServicesDep
) -> AuditReport:
    """Check every link of the chain: no row was changed, removed, inserted or moved."""
    return await queries.verify_audit(services)


@router.get("/audit/export", tags=["audit"], summary="Export the audit log", response_class=StreamingResponse)
async def export_audit(
    actor: Annotated[Actor, Depends(allowed("audit.read"))],
    services: ServicesDep,
    form: Annotated[ExportForm, Query(alias="format")] = ExportForm.JSONL,
) -> StreamingResponse:
    """Return every event, the oldest first: a JSON object a line, or comma-separated values."""
    return StreamingResponse(export(services, form, actor), media_type=MEDIA_TYPES[form])


@router.get("/server", tags=["server"], summary="Show the Server")
async def server_status(
    _actor: Annotated[Actor, Depends(allowed("workers.read"))], services: ServicesDep
) -> ServerStatus:
    """Return version, issuer, counts and warnings."""
    return queries.server_status(services)


@router.get("/servers", tags=["server"], summary="List the Servers")
async def list_servers(
    _actor: Annotated[Actor, Depends(allowed("workers.read"))], services: ServicesDep
) -> Servers:
    """Return every Server that shares this state; one that is silent for five seconds is given up."""
    return Servers(items=await queries.list_servers(services))


@router.get("/history", tags=["server"], summary="Show the Server over time")
async def history(
    _actor: Annotated[Actor, Depends(allowed("workers.read"))],
    services: ServicesDep,
    period: Period = Period.HOUR,
) -> History:
    """Return Workers connected, admissions and refusals over the last hour, day or week."""
    return await queries.history(services, period)


@router.get("/attention", tags=["server"], summary="Show what needs attention")
async def attention(
    _actor: Annotated[Actor, Depends(allowed("refusals.read"))], services: ServicesDep
) -> Concerns:
    """Return misconfigured and doubled Workers, keys that end soon, and settings to change."""
    return Concerns(items=await find_concerns(services))


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
