"""Routes of the Server's status, peers, history and alerts."""

from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Depends

from lyftdata.core.actor import Actor
from lyftdata.server.admin.schemas.fleet import Fleet
from lyftdata.server.admin.schemas.status import (
    CurrentAlerts,
    History,
    Period,
    Servers,
    ServerStatus,
    SnoozeInput,
)
from lyftdata.server.api.admin.access import ServicesDep, allowed

router = APIRouter()


@router.get("/server", tags=["server"], summary="Show the Server")
async def server_status(
    _actor: Annotated[Actor, Depends(allowed("fleet.read"))], services: ServicesDep
) -> ServerStatus:
    """Return version, issuer, counts and warnings."""
    return services.status_queries.status()


@router.get("/servers", tags=["server"], summary="List the Servers")
async def list_servers(
    _actor: Annotated[Actor, Depends(allowed("fleet.read"))], services: ServicesDep
) -> Servers:
    """Return every Server that shares this state; one without a heartbeat for five seconds is declared dead."""
    return Servers(items=await services.status_queries.servers())


@router.get("/fleet", tags=["server"], summary="Show whether the fleet is complete")
async def fleet(_actor: Annotated[Actor, Depends(allowed("fleet.read"))], services: ServicesDep) -> Fleet:
    """Return how many of the expected Workers are connected, and what the lost ones have in common."""
    return await services.fleet_queries.show()


@router.get("/history", tags=["server"], summary="Show the Server over time")
async def history(
    _actor: Annotated[Actor, Depends(allowed("fleet.read"))],
    services: ServicesDep,
    period: Period = Period.HOUR,
) -> History:
    """Return the numbers of connected Workers, admissions and refusals at all Servers over the last hour, day or week; of the current minute, those at this Server."""
    return await services.status_queries.history(period)


@router.get("/attention", tags=["server"], summary="Show what needs attention")
async def attention(
    _actor: Annotated[Actor, Depends(allowed("refusals.read"))], services: ServicesDep
) -> CurrentAlerts:
    """Return misconfigured and duplicate Workers, keys that expire soon, and settings to change."""
    found = await services.alerts.find()
    return CurrentAlerts(
        items=[alert for alert in found if alert.snoozed is None],
        snoozed=[alert for alert in found if alert.snoozed is not None],
    )


@router.post("/attention/{alert_id}/snooze", tags=["server"], status_code=204, summary="Snooze an alert")
async def snooze_alert(
    alert_id: str,
    body: SnoozeInput,
    actor: Annotated[Actor, Depends(allowed("alerts.write"))],
    services: ServicesDep,
) -> None:
    """Put off what needs attention for at most a week; it comes back by itself then, or when it gets worse."""
    await services.snoozes.snooze(alert_id, for_=timedelta(seconds=body.for_s), note=body.note, actor=actor)


@router.post(
    "/attention/{alert_id}/unsnooze", tags=["server"], status_code=204, summary="Let an alert come back"
)
async def unsnooze_alert(
    alert_id: str, actor: Annotated[Actor, Depends(allowed("alerts.write"))], services: ServicesDep
) -> None:
    """Let what is snoozed need attention again before its time is over."""
    await services.snoozes.unsnooze(alert_id, actor=actor)
