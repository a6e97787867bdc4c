"""
What happens, told to whoever is listening right now: `lyftdata workers watch` and the operator's pages.

A listener that does not read is dropped rather than waited for: it can connect again and read the list.
"""

import asyncio
from collections.abc import AsyncIterator

import msgspec

_MOST_WAITING = 1_000
_MOST_LISTENERS = 200
_MOST_OF_ONE = 40


class Event(msgspec.Struct, frozen=True):
    """Something about a Worker changed: `kind` is `worker` or `worker_deleted`."""

    kind: str
    worker_id: str


class Events:
    """A small publish-and-subscribe of Worker events, in one process."""

    def __init__(self) -> None:
        self._listeners: dict[asyncio.Queue[Event | None], str] = {}
        self._watchers: dict[asyncio.Event, str] = {}
        self._is_closed = False
        self.version = 0
        """Another number after every change: of a Worker, its presence, a key, a resource."""

    def count_change(self) -> None:
        """Note that what was computed before may be no longer so."""
        self.version += 1

    def publish(self, event: Event) -> None:
        """Hand an event to every listener; never waits."""
        self.count_change()
        for queue in list(self._listeners):
            try:
                queue.put_nowait(event)
            except asyncio.QueueFull:
                self._drop(queue)
        for changed in self._watchers:
            changed.set()

    def has_room(self, operator: str) -> bool:
        """Return whether one more listener of this operator may come; nobody takes the places of all."""
        everybodys = [*self._listeners.values(), *self._watchers.values()]
        return everybodys.count(operator) < _MOST_OF_ONE and len(everybodys) < _MOST_LISTENERS

    async def listen(self, operator: str, *, every_s: float) -> AsyncIterator[Event | None]:
        """
        Yield events from now on, until the Server stops or the listener falls too far behind.

        Args:
            operator: Who listens.
            every_s: None is yielded after so many seconds without an event, for a sign of life.
        """
        queue: asyncio.Queue[Event | None] = asyncio.Queue(_MOST_WAITING)
        self._listeners[queue] = operator
        try:
            while True:
                try:
                    async with asyncio.timeout(every_s):
                        event = await queue.get()
                except TimeoutError:
                    yield None
                    continue
                if event is None:
                    return
                yield event
        finally:
            self._listeners.pop(queue, None)

    async def changes(self, operator: str, *, every_s: float, pause_s: float) -> AsyncIterator[bool]:
        """
        Yield True when something has happened since the last time, until the Server stops.

        Args:
            operator: Who listens.
            every_s: False is yielded after so many seconds without an event, for a sign of life.
            pause_s: The least time between two, in seconds: however much happens, it costs the same.
        """
        changed = asyncio.Event()
        self._watchers[changed] = operator
        try:
            while not self.is_closed():
                try:
                    async with asyncio.timeout(every_s):
                        await changed.wait()
                except TimeoutError:
                    yield False
                    continue
                changed.clear()
                if self.is_closed():
                    return
                yield True
                await asyncio.sleep(pause_s)
        finally:
            del self._watchers[changed]

    def is_closed(self) -> bool:
        """Return whether the Server stops."""
        return self._is_closed

    def close(self) -> None:
        """Let every listener go."""
        self._is_closed = True
        for changed in self._watchers:
            changed.set()
        for queue in list(self._listeners):
            self._drop(queue)

    def _drop(self, queue: asyncio.Queue[Event | None]) -> None:
        self._listeners.pop(queue, None)
        while not queue.empty():
            queue.get_nowait()
        queue.put_nowait(None)
