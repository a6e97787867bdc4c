"""
`/events`: notifies pages that something about the Workers has changed, at most once a second.

The page then reloads what it shows. The stream contains only that notification, so it costs the same whether one Worker or
ten thousand connect.
"""

import asyncio
from collections.abc import AsyncIterator

from starlette.responses import Response

from lyftdata.server.streams.events import Listener
from lyftdata.server.streams.stream_limits import SlotResponse
from lyftdata.web.page import Page

_STILL_THERE_EVERY_S = 15.0
# The larger the fleet, the more a page costs, and the more often something changes.
_MIN_PAUSE_S, _MAX_PAUSE_S = 1.0, 5.0
_WORKERS_A_SECOND = 2_500


async def events(page: Page) -> Response:
    """Stream until the Server stops, the page is closed, or the operator's session ends; `since` is the state that the page shows."""
    page.check_parameters("since")
    events = page.services.events
    listener = events.admit(page.actor)
    if page.query("since") not in {"", events.mark}:
        listener.note_change()
    pause_s = _MIN_PAUSE_S + page.services.directory.worker_count() / _WORKERS_A_SECOND
    return SlotResponse(
        _stream(listener, pause_s=min(_MAX_PAUSE_S, pause_s)),
        release=lambda: events.release(listener),
        media_type="text/event-stream",
        headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
    )


async def _stream(listener: Listener, *, pause_s: float) -> AsyncIterator[bytes]:
    yield b": connected\n\n"
    while (has_changed := await listener.next_change(every_s=_STILL_THERE_EVERY_S)) is not None:
        yield b"event: fleet\ndata: changed\n\n" if has_changed else b": still there\n\n"
        if has_changed:
            await asyncio.sleep(pause_s)
