"""Routes of `/api/event-destinations`."""

from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Depends

from lyftdata.core.actor import Actor
from lyftdata.server.admin.event_destinations import DestinationChange
from lyftdata.server.admin.schemas import event_destinations as models
from lyftdata.server.api.admin.access import ServicesDep, allowed, require

router = APIRouter(prefix="/event-destinations", tags=["event destinations"])

Reader = Annotated[Actor, Depends(allowed("event_destinations.read"))]
Writer = Annotated[Actor, Depends(allowed("event_destinations.write"))]
Redirector = Annotated[Actor, Depends(allowed("event_destinations.redirect"))]


@router.get("", summary="List event destinations")
async def list_destinations(_actor: Reader, services: ServicesDep) -> models.EventDestinations:
    """Return every destination, and how far each has got."""
    return models.EventDestinations(items=await services.event_destination_queries.list_all())


@router.post("", status_code=201, summary="Add an event destination")
async def add_destination(
    body: models.NewEventDestination, actor: Redirector, services: ServicesDep
) -> models.AddedEventDestination:
    """Deliver events of the audit log there from now on; a webhook's secret is only in this response."""
    change = DestinationChange(url=body.url, events=body.events, labels=body.labels, ca=body.ca)
    secret = await services.event_destinations.add(body.name, body.transport, change, actor=actor)
    return models.AddedEventDestination(
        destination=await services.event_destination_queries.get(body.name),
        secret=None if secret is None else secret.reveal(),
    )


@router.get("/{name}", summary="Show an event destination")
async def show_destination(
    name: str, _actor: Reader, services: ServicesDep
) -> models.EventDestinationDetails:
    """Return one destination, how far it has got, and which events wait for it."""
    return await services.event_destination_queries.get(name)


@router.patch("/{name}", summary="Change an event destination")
async def change_destination(
    name: str, body: models.EventDestinationChange, actor: Writer, services: ServicesDep
) -> models.EventDestination:
    """Change the given fields; `paused` pauses or resumes delivery, and resuming retries at once."""
    given = body.model_dump(exclude={"paused"}, exclude_none=True)
    if given or body.paused:
        # Pausing keeps others from learning what is done, and so needs the same right as deleting.
        require("event_destinations.redirect", actor=actor, services=services)
    if given:
        await services.event_destinations.change(name, DestinationChange(**given), actor=actor)
    if body.paused is not None:
        act = services.event_destinations.pause if body.paused else services.event_destinations.resume
        await act(name, actor=actor)
    return await services.event_destination_queries.get(name)


@router.delete("/{name}", status_code=204, summary="Delete an event destination")
async def delete_destination(name: str, actor: Redirector, services: ServicesDep) -> None:
    """Stop delivering to this destination."""
    await services.event_destinations.delete(name, actor=actor)


@router.post("/{name}/test", summary="Test an event destination")
async def test_destination(name: str, actor: Writer, services: ServicesDep) -> models.EventTest:
    """Send a test event now, from this Server, and return the result."""
    outcome = await services.event_destinations.test(name, actor=actor)
    return models.EventTest(name=name, delivered=not outcome.error, error=outcome.error)


@router.post("/{name}/skip", summary="Skip an event that a receiver rejects")
async def skip_event(
    name: str, body: models.SkipEvent, actor: Redirector, services: ServicesDep
) -> models.EventDestinationDetails:
    """Leave out the event that the destination's receiver has rejected three times, so that those after it follow; never another one."""
    await services.event_destinations.skip_event(name, body.number, body.reason, actor=actor)
    return await services.event_destination_queries.get(name)


@router.post("/{name}/secret", status_code=201, summary="Rotate a webhook's secret")
async def rotate_secret(
    name: str, body: models.RotateEventSecret, actor: Redirector, services: ServicesDep
) -> models.EventSecret:
    """Create a new secret, which is only in this response; for a time, messages are signed with both secrets."""
    secret = await services.event_destinations.rotate_secret(
        name, overlap=timedelta(seconds=body.overlap_s), actor=actor
    )
    found = await services.event_destination_queries.get(name)
    return models.EventSecret(
        name=name, secret=secret.reveal(), previous_secret_until=found.previous_secret_until
    )
