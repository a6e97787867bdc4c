"""
`/events`: tells a page that something about the fleet has changed, at most once a second.

The page then asks for what it shows anew. Nothing but that hint is in the stream, so it costs the same for one
Worker that comes as for ten thousand.
"""

from collections.abc import AsyncIterator
from datetime import timedelta

from starlette.responses import Response, StreamingResponse

from lyftdata.core.errors import ConflictError
from lyftdata.server.actor import Actor
from lyftdata.server.services import Services
from lyftdata.web.page import Page

_STILL_THERE_EVERY_S = 15.0
# A page costs the more, the larger the fleet is, and something happens the more often.
_SHORTEST_PAUSE_S, _LONGEST_PAUSE_S = 1.0, 5.0
_WORKERS_A_SECOND = 2_500
_CHECK_SESSION_AFTER = timedelta(seconds=15)


async def events(page: Page) -> Response:
    """Stream until the Server stops, the page is closed, or the operator's session ends."""
    if not page.services.events.has_room(page.actor.operator):
        raise ConflictError("too_many_listeners", "Too many pages are open.", hint="Close some of them.")
    return StreamingResponse(
        _stream(page.services, page.actor),
        media_type="text/event-stream",
        headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
    )


async def _stream(services: Services, actor: Actor) -> AsyncIterator[bytes]:
    yield b": connected\n\n"
    checked_at = services.clock()
    pause_s = _SHORTEST_PAUSE_S + services.directory.worker_count() / _WORKERS_A_SECOND
    changes = services.events.changes(
        actor.operator, every_s=_STILL_THERE_EVERY_S, pause_s=min(_LONGEST_PAUSE_S, pause_s)
    )
    async for has_changed in changes:
        if not has_changed or services.clock() - checked_at >= _CHECK_SESSION_AFTER:
            if not await services.operators.is_signed_in(actor):
                return
            checked_at = services.clock()
        yield b"event: fleet\ndata: changed\n\n" if has_changed else b": still there\n\n"
