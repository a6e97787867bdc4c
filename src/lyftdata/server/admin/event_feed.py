"""
Sends Worker events as server-sent events, rendered once for all listeners.

If they were rendered for each listener, one operator with forty streams would make the Server read and render every event forty
times, in the same event loop as the responses to Workers.
"""

import asyncio
from collections.abc import Sequence

import msgspec

from lyftdata.core.log_events.server import EVENT_FEED_FAILED
from lyftdata.core.records import WorkerRecord
from lyftdata.core.scopes import Scope
from lyftdata.log import emit, get_logger
from lyftdata.server.admin.worker_queries import WorkerQueries
from lyftdata.server.admission.directory import Directory
from lyftdata.server.streams.events import Event, Events, Follower, Listener
from lyftdata.store import Store
from lyftdata.store.tables import activity

_log = get_logger(__name__)

# When a fleet reconnects, thousands of events are pending: yield to other work in between.
_RENDERED_AT_ONCE = 50
_PAUSE_S = 0.1


class _Rendered(msgspec.Struct, frozen=True):
    """A rendered event, and the Worker that it is about; None if that no longer exists."""

    worker_id: str
    worker: WorkerRecord | None
    data: bytes


class EventFeed:
    """
    Renders events while there are listeners.

    Args:
        events: The source of the events.
        directory: Finds the Worker of an event.
        workers: Builds its view.
        store: Loads its activity.
    """

    def __init__(self, *, events: Events, directory: Directory, workers: WorkerQueries, store: Store) -> None:
        self._events = events
        self._directory = directory
        self._workers = workers
        self._store = store
        self._listeners: set[Listener] = set()
        # For listeners with a scope: the Workers in it, so that they see one of them leave, and learn of no other.
        self._in_scope: dict[Listener, set[str]] = {}
        self._task: asyncio.Task[None] | None = None

    def join(self, listener: Listener) -> None:
        """Deliver every event within the listener's scope to it, from now on."""
        self._listeners.add(listener)
        if listener.scope.is_limited:
            workers = filter(listener.scope.covers_worker, self._directory.workers())
            self._in_scope[listener] = {worker.id for worker in workers}
        if self._task is None:
            # Followed from now, not from when the task starts: no event is missed in between.
            self._task = asyncio.create_task(self._run(self._events.follow()))

    def unsubscribe(self, listener: Listener) -> None:
        """Stop delivering events to a listener."""
        self._listeners.discard(listener)
        self._in_scope.pop(listener, None)
        if not self._listeners and self._task is not None:
            self._task.cancel()
            self._task = None

    async def _run(self, follower: Follower) -> None:
        try:
            while True:
                await self._deliver(await follower.next_events())
                await asyncio.sleep(_PAUSE_S)
        finally:
            self._events.unfollow(follower)

    async def _deliver(self, events: Sequence[Event]) -> None:
        try:
            for begin in range(0, len(events), _RENDERED_AT_ONCE):
                rendered = await self._render(events[begin : begin + _RENDERED_AT_ONCE])
                whole = b"".join(one.data for one in rendered)
                for listener in self._listeners:
                    known = self._in_scope.get(listener)
                    data = whole if known is None else _within(listener.scope, rendered, known)
                    if data:
                        listener.put(data)
        except Exception as error:  # noqa: BLE001 - the next events may be rendered
            emit(_log, EVENT_FEED_FAILED, problem=str(error))
            # A listener that has missed an event must reload the list: the end of its stream makes it do so.
            for listener in self._listeners:
                listener.end()

    async def _render(self, events: Sequence[Event]) -> list[_Rendered]:
        ids = [event.worker_id for event in events]
        stored = await self._store.read(lambda conn: activity.find_traces(conn, ids))
        rendered = []
        for worker_id in ids:
            worker = self._directory.find_worker(worker_id)
            data = (
                _deleted(worker_id)
                if worker is None
                else _event(b"worker", self._workers.view(worker, stored).model_dump_json().encode())
            )
            rendered.append(_Rendered(worker_id, worker, data))
        return rendered


def _within(scope: Scope, rendered: Sequence[_Rendered], known: set[str]) -> bytes:
    """
    Return the data for a listener with a scope, and update `known`: a Worker that leaves the scope appears as deleted.

    The listener learns nothing about a Worker that was never in the scope, not even that it is gone.
    """
    parts = []
    for one in rendered:
        if one.worker is not None and scope.covers_worker(one.worker):
            known.add(one.worker_id)
            parts.append(one.data)
        elif one.worker_id in known:
            known.discard(one.worker_id)
            parts.append(_deleted(one.worker_id))
    return b"".join(parts)


def _deleted(worker_id: str) -> bytes:
    return _event(b"worker_deleted", msgspec.json.encode({"id": worker_id}))


def _event(kind: bytes, data: bytes) -> bytes:
    return b"event: " + kind + b"\ndata: " + data + b"\n\n"
