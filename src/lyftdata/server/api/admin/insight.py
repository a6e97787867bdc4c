"""What operators look at: Auto-Enrollment's state, refusals, the audit log, the Server itself, live events."""

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Depends, Query
from starlette.responses import StreamingResponse

from lyftdata.core.errors import InvalidInputError
from lyftdata.core.refusals import all_causes, cause_of
from lyftdata.server.actor import Actor
from lyftdata.server.admin.audit_export import ExportForm
from lyftdata.server.admin.schemas.audit import AuditPage, AuditReport
from lyftdata.server.admin.schemas.enrollment import EnrollmentStatus
from lyftdata.server.admin.schemas.refusals import Refusal, RefusalPage
from lyftdata.server.admin.schemas.status import Concerns, History, Period, Servers, ServerStatus
from lyftdata.server.api.admin.access import ServicesDep, allowed
from lyftdata.server.events import Listener
from lyftdata.server.runtime.services import Services
from lyftdata.server.stream_limits import SlotResponse
from lyftdata.store import StoreError

router = APIRouter()

_STILL_THERE_EVERY_S = 15.0
_PROGRESS_EVERY_S = 1.0


@router.get("/enrollment", tags=["enrollment"], summary="Show Auto-Enrollment")
async def enrollment(
    _actor: Annotated[Actor, Depends(allowed("enrollment.read"))], services: ServicesDep
) -> EnrollmentStatus:
    """Return whether it is on, and the fingerprints of the secrets in force."""
    return await services.enrollment_queries.show()


@router.get("/refusals", tags=["refusals"], summary="List refusals")
async def list_refusals(
    _actor: Annotated[Actor, Depends(allowed("refusals.read"))],
    services: ServicesDep,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    code: Annotated[str | None, Query(max_length=64)] = None,
    q: Annotated[
        str | None, Query(min_length=1, max_length=128, description="Part of a Worker or an address.")
    ] = None,
) -> RefusalPage:
    """Return refused attempts grouped by cause, claimed Worker and address, the latest first."""
    if code is not None and cause_of(code) is None:
        # A misspelt cause would read as good news: nobody was refused for it.
        raise InvalidInputError("code", f"must be a cause of refusal, for example {all_causes()[0].code}")
    return RefusalPage(items=await services.refusal_queries.list_groups(limit=limit, code=code, q=q))


@router.get("/refusals/{reference}", tags=["refusals"], summary="Show a refusal")
async def show_refusal(
    reference: str, _actor: Annotated[Actor, Depends(allowed("refusals.read"))], services: ServicesDep
) -> Refusal:
    """Return one refused attempt with the whole reason, by the reference that the Worker logged."""
    return await services.refusal_queries.get(reference)


@router.get("/audit", tags=["audit"], summary="List audit events")
async def list_audit(
    _actor: Annotated[Actor, Depends(allowed("audit.read"))],
    services: ServicesDep,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    before: Annotated[int | None, Query(ge=1, le=2**63 - 1, description="`next` of the page before.")] = None,
    action: Annotated[str | None, Query(min_length=1, max_length=64)] = None,
    subject: Annotated[str | None, Query(min_length=1, max_length=128)] = None,
) -> AuditPage:
    """Return decisions about trust, the latest first."""
    return await services.audit_queries.list_page(limit=limit, before=before, action=action, subject=subject)


@router.get("/audit/verify", tags=["audit"], summary="Verify the audit log")
async def verify_audit(
    actor: Annotated[Actor, Depends(allowed("audit.verify"))], services: ServicesDep
) -> AuditReport:
    """Check every link of the chain: no row was changed, inserted, moved or removed from the middle."""
    services.budget.charge_check(actor.operator, services.store.audit_length)
    return await services.audit_queries.verify()


@router.get(
    "/audit/verify/progress",
    tags=["audit"],
    summary="Verify the audit log and follow it",
    response_class=StreamingResponse,
)
async def follow_verification(
    actor: Annotated[Actor, Depends(allowed("audit.verify"))], services: ServicesDep
) -> StreamingResponse:
    """Check the log, and return a JSON object a line: `done` and `total` each second, and `report` at the end."""
    services.budget.charge_check(actor.operator, services.store.audit_length)
    return StreamingResponse(
        _follow_verification(actor, services),
        media_type="application/x-ndjson",
        headers={"Cache-Control": "no-store"},
    )


async def _follow_verification(actor: Actor, services: Services) -> AsyncIterator[bytes]:
    """Stream until the check ends, or the operator's session does; the check goes on for others who wait for it."""
    check = asyncio.ensure_future(services.audit_queries.verify())
    try:
        while not (await asyncio.wait({check}, timeout=_PROGRESS_EVERY_S))[0]:
            if not await services.operators.is_signed_in(actor):
                return
            done, total = services.store.check_progress()
            yield f'{{"done":{done},"total":{total}}}\n'.encode()
        yield b'{"report":' + check.result().model_dump_json().encode() + b"}\n"
    except StoreError:
        # The Server stops, or its database is away: what was sent so far holds no report, and the client says so.
        return
    finally:
        check.cancel()


@router.get("/audit/export", tags=["audit"], summary="Export the audit log", response_class=StreamingResponse)
async def export_audit(
    actor: Annotated[Actor, Depends(allowed("audit.read"))],
    services: ServicesDep,
    form: Annotated[ExportForm, Query(alias="format")] = ExportForm.JSONL,
) -> StreamingResponse:
    """Return every event, the oldest first: a JSON object a line, or comma-separated values."""
    return services.audit_export.respond(form, actor)


@router.get("/server", tags=["server"], summary="Show the Server")
async def server_status(
    _actor: Annotated[Actor, Depends(allowed("workers.read"))], services: ServicesDep
) -> ServerStatus:
    """Return version, issuer, counts and warnings."""
    return services.status_queries.status()


@router.get("/servers", tags=["server"], summary="List the Servers")
async def list_servers(
    _actor: Annotated[Actor, Depends(allowed("workers.read"))], services: ServicesDep
) -> Servers:
    """Return every Server that shares this state; one that is silent for five seconds is given up."""
    return Servers(items=await services.status_queries.servers())


@router.get("/history", tags=["server"], summary="Show the Server over time")
async def history(
    _actor: Annotated[Actor, Depends(allowed("workers.read"))],
    services: ServicesDep,
    period: Period = Period.HOUR,
) -> History:
    """Return Workers connected, admissions and refusals over the last hour, day or week."""
    return await services.status_queries.history(period)


@router.get("/attention", tags=["server"], summary="Show what needs attention")
async def attention(
    _actor: Annotated[Actor, Depends(allowed("refusals.read"))], services: ServicesDep
) -> Concerns:
    """Return misconfigured and doubled Workers, keys that end soon, and settings to change."""
    return Concerns(items=await services.alerts.find())


@router.get("/events", tags=["workers"], summary="Follow Workers live", response_class=StreamingResponse)
async def events(
    actor: Annotated[Actor, Depends(allowed("events.read"))], services: ServicesDep
) -> StreamingResponse:
    """Return server-sent events: `worker` with the Worker as it is now, `worker_deleted` with its ID."""
    feed = services.event_feed
    listener = services.events.admit(actor)
    feed.join(listener)

    def release() -> None:
        feed.leave(listener)
        services.events.release(listener)

    return SlotResponse(
        _event_stream(listener),
        release=release,
        media_type="text/event-stream",
        headers={"Cache-Control": "no-store"},
    )


async def _event_stream(listener: Listener) -> AsyncIterator[bytes]:
    """Stream until the Server stops or the operator's session ends."""
    yield b": connected\n\n"
    while (data := await listener.next_data(every_s=_STILL_THERE_EVERY_S)) is not None:
        yield data or b": still there\n\n"
