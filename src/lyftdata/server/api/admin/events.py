"""Streams Workers' connects and disconnects as server-sent events."""

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Depends
from starlette.responses import StreamingResponse

from lyftdata.core.actor import Actor
from lyftdata.server.api.admin.access import ServicesDep, allowed
from lyftdata.server.streams.events import Listener
from lyftdata.server.streams.stream_limits import SlotResponse

router = APIRouter()

_STILL_THERE_EVERY_S = 15.0


@router.get("/events", tags=["workers"], summary="Follow Workers live", response_class=StreamingResponse)
async def events(
    actor: Annotated[Actor, Depends(allowed("events.read", in_scope=True))], services: ServicesDep
) -> StreamingResponse:
    """Return server-sent events: `worker` with the current state of the Worker, `worker_deleted` with its ID."""
    feed = services.event_feed
    listener = services.events.admit(actor)
    feed.join(listener)

    def release() -> None:
        feed.unsubscribe(listener)
        services.events.release(listener)

    return SlotResponse(
        _event_stream(listener),
        release=release,
        media_type="text/event-stream",
        # Otherwise nginx would hold events back until its buffer is full.
        headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
    )


async def _event_stream(listener: Listener) -> AsyncIterator[bytes]:
    """Stream until the Server stops or the operator's session ends."""
    yield b": connected\n\n"
    while (data := await listener.next_data(every_s=_STILL_THERE_EVERY_S)) is not None:
        yield data or b": still there\n\n"
