"""Routes of `/api/incident`."""

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query, Response

from lyftdata.core.actor import Actor
from lyftdata.core.incidents import MAX_SUBJECT_LENGTH
from lyftdata.server.admin.incident_response import Wanted
from lyftdata.server.admin.schemas import incidents as models
from lyftdata.server.api.admin.access import ServicesDep, allowed

router = APIRouter(prefix="/incident", tags=["incident"])

Reader = Annotated[Actor, Depends(allowed("incident.read"))]
Writer = Annotated[Actor, Depends(allowed("incident.write"))]


@router.get(
    "", summary="Show which Workers used a leaked key or an address", response_model=models.IncidentReport
)
async def show_incident(
    _actor: Reader,
    services: ServicesDep,
    subject: Annotated[
        str,
        Query(
            min_length=1,
            max_length=MAX_SUBJECT_LENGTH,
            description="Name or public ID of a key, ID of a Worker, address or network; or `api-key:`, `enrollment-key:`, `worker:`, `address:` or `host:` and the name.",
        ),
    ],
    since: Annotated[
        str,
        Query(
            max_length=64, description="A time such as `2026-03-01T12:00Z`, or how long ago, such as `24h`."
        ),
    ] = "",
) -> Response:
    """Return the Workers that used a key, an address or a host, which tokens they got from where, and which are connected now."""
    report = await services.incident_queries.report(subject, since)
    # Serialized here: FastAPI would validate each of ten thousand Workers again, in one piece of the event loop's time.
    return Response(report.model_dump_json(), media_type="application/json")


@router.post("/cut-offs", status_code=201, summary="Cut off the Workers of an incident")
async def cut_off(body: models.CutOffRequest, actor: Writer, services: ServicesDep) -> models.CutOffProgress:
    """Disable or delete Workers and revoke the key, in one transaction with one audit event. Sessions at other Servers end within a second after this returns."""
    wanted = Wanted(
        subject=body.subject,
        since=body.since,
        worker_ids=None if body.workers == "all" else body.workers,
        action=body.action,
        revoke_key=body.revoke_key,
    )
    number = await services.incident_response.cut_off(wanted, actor=actor)
    return await services.incident_queries.progress(number)


@router.get("/cut-offs/{number}", summary="Show the progress of a cut-off")
async def show_cut_off(
    number: Annotated[int, Path(ge=1, lt=2**63)], _actor: Reader, services: ServicesDep
) -> models.CutOffProgress:
    """Return the Workers of a cut-off, and those whose session from before is still open. `number` is that of its audit event."""
    return await services.incident_queries.progress(number)
