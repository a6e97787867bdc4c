"""
Publishes events to all listeners: `lyftdata workers watch` and the operators' pages.

Listeners are counted when they are admitted, and end with the session of their operator: `end_sessions` is called once a
second for all of them. A listener that does not read is disconnected rather than waited for: it can reconnect and
reload the list.
"""

import asyncio
import secrets
from collections.abc import Collection

import msgspec

from lyftdata.core.actor import Actor
from lyftdata.core.errors import ConflictError
from lyftdata.server.streams.stream_limits import Slot, StreamLimiter

_MAX_WAITING = 1_000
_MAX_LISTENERS = 200
_MAX_PER_OPERATOR = 40


class Event(msgspec.Struct, frozen=True):
    """Something about a Worker has changed: `kind` is `worker` or `worker_deleted`."""

    kind: str
    worker_id: str


class Listener:
    """One event stream; the response that holds it must close it."""

    def __init__(self, actor: Actor, slot: Slot) -> None:
        self.session_id = actor.session_id
        self.scope = actor.scope
        self.is_ended = False
        self._slot = slot
        self._wake = asyncio.Event()
        self._waiting: list[bytes] = []
        self._has_changed = False

    def put(self, data: bytes) -> None:
        """Queue data, rendered once for all listeners; a listener that falls too far behind is ended."""
        if len(self._waiting) >= _MAX_WAITING:
            self.end()
            return
        self._waiting.append(data)
        self._wake.set()

    def note_change(self) -> None:
        """Record that something has changed."""
        self._has_changed = True
        self._wake.set()

    def end(self) -> None:
        """End the stream: what is queued is not sent any more."""
        self.is_ended = True
        self._waiting.clear()
        self._wake.set()

    def release(self) -> None:
        """Free the slot for another listener."""
        self.end()
        self._slot.release()

    async def next_data(self, *, every_s: float) -> bytes | None:
        """Return the data queued since the last call, empty after `every_s` seconds without any, None at the end."""
        await self._wait(every_s)
        if self.is_ended:
            return None
        waiting, self._waiting = self._waiting, []
        return b"".join(waiting)

    async def next_change(self, *, every_s: float) -> bool | None:
        """Return True once something has changed, False after `every_s` seconds without a change, None at the end."""
        await self._wait(every_s)
        if self.is_ended:
            return None
        has_changed, self._has_changed = self._has_changed, False
        return has_changed

    async def _wait(self, at_most_s: float) -> None:
        if self.is_ended:
            return
        try:
            async with asyncio.timeout(at_most_s):
                await self._wake.wait()
        except TimeoutError:
            return
        self._wake.clear()


class Follower:
    """Collects published events for the task that renders them."""

    def __init__(self) -> None:
        self._pending: dict[str, Event] = {}
        self._wake = asyncio.Event()

    def note(self, event: Event) -> None:
        """Add an event."""
        # A Worker is rendered in its current state: of several events of one Worker, the last is enough.
        self._pending.pop(event.worker_id, None)
        self._pending[event.worker_id] = event
        self._wake.set()

    async def next_events(self) -> list[Event]:
        """Return the events published since the last call, waiting for the first one."""
        await self._wake.wait()
        self._wake.clear()
        pending, self._pending = self._pending, {}
        return list(pending.values())


class Events:
    """Publish and subscribe for Worker events, in one process."""

    def __init__(self) -> None:
        self._slots = StreamLimiter(total=_MAX_LISTENERS, per_operator=_MAX_PER_OPERATOR)
        self._listeners: set[Listener] = set()
        self._followers: set[Follower] = set()
        self._is_closed = False
        self._process = secrets.token_hex(4)
        self.version = 0
        """Incremented with every change of a Worker, its presence, a key, a resource."""

    @property
    def mark(self) -> str:
        """Return an identifier of the state that a page shows: this process, and the version of its state."""
        return f"{self._process}.{self.version}"

    def count_change(self) -> None:
        """Record a change, so that previously computed results are stale."""
        self.version += 1

    def publish(self, event: Event) -> None:
        """Publish an event to every listener; never waits."""
        self.count_change()
        for follower in self._followers:
            follower.note(event)
        for listener in self._listeners:
            listener.note_change()

    def admit(self, actor: Actor) -> Listener:
        """
        Take a slot for a new listener.

        Raises:
            ConflictError: `too_many_listeners`.
        """
        slot = self._slots.take(actor.account)
        if slot is None:
            raise ConflictError(
                "too_many_listeners", "Too many listeners are connected.", hint="Close some of them."
            )
        listener = Listener(actor, slot)
        self._listeners.add(listener)
        if self._is_closed:
            listener.end()
        return listener

    def release(self, listener: Listener) -> None:
        """Remove a listener whose stream has ended."""
        self._listeners.discard(listener)
        listener.release()

    def follow(self) -> Follower:
        """Collect events from now on, until `unfollow`."""
        follower = Follower()
        self._followers.add(follower)
        return follower

    def unfollow(self, follower: Follower) -> None:
        """Stop collecting events."""
        self._followers.discard(follower)

    def session_ids(self) -> set[str]:
        """Return the session IDs of all listeners."""
        return {listener.session_id for listener in self._listeners}

    def end_sessions(self, session_ids: Collection[str]) -> None:
        """End the listeners of sessions that have ended."""
        for listener in self._listeners:
            if listener.session_id in session_ids:
                listener.end()

    def is_closed(self) -> bool:
        """Return whether the Server is stopping."""
        return self._is_closed

    def close(self) -> None:
        """End every listener."""
        self._is_closed = True
        for listener in self._listeners:
            listener.end()
