"""
Computes once for all viewers what many pages show.

When something happens to the fleet, every open tab reloads its page at the same moment. If the overview of ten thousand
Workers were computed for each tab, the event loop, and so the Workers, would have to wait for all of them.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Hashable
from typing import Any, Generic, TypeVar, cast

from lyftdata.server.runtime.services import Services

T = TypeVar("T")

# The minimum time between the starts of two computations: callers in between wait for the next one.
_LEAST_PAUSE_S = 0.2


class Shared(Generic[T]):
    """
    A value computed once for all callers, never older than the state in which a caller asks.

    Args:
        state: Identifies the current state, by something that is cheap to compare.
        monotonic: Returns seconds of a monotonic clock.
        sleep: Waits for this many seconds.
    """

    def __init__(
        self,
        state: Callable[[], Hashable],
        *,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._state = state
        self._monotonic = monotonic
        self._sleep = sleep
        self._begun_in: Hashable = None
        self._begun_at_s = float("-inf")
        self._task: asyncio.Task[T] | None = None
        self._next: asyncio.Task[T] | None = None

    async def get(self, compute: Callable[[], Awaitable[T]]) -> T:
        """Return the value for the current state; raises what `compute` raises."""
        # Shielded: a caller that goes away must not cancel what others are waiting for.
        return await asyncio.shield(self._current_task(compute))

    def _current_task(self, compute: Callable[[], Awaitable[T]]) -> "asyncio.Task[T]":
        if self._task is not None and self._is_current(self._task):
            return self._task
        if self._next is None:
            self._next = asyncio.create_task(self._begin(compute))
        return self._next

    def _is_current(self, task: "asyncio.Task[T]") -> bool:
        has_failed = task.done() and (task.cancelled() or task.exception() is not None)
        return self._state() == self._begun_in and not has_failed

    async def _begin(self, compute: Callable[[], Awaitable[T]]) -> T:
        wait_s = self._begun_at_s + _LEAST_PAUSE_S - self._monotonic()
        if wait_s > 0:
            await self._sleep(wait_s)
        # Callers in a later state wait for the next computation from here on.
        self._task, self._next = self._next, None
        self._begun_in, self._begun_at_s = self._state(), self._monotonic()
        return await compute()


class SharedValues:
    """The shared values of one Server, by name; none is older than a second."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._by_name: dict[Hashable, Shared[Any]] = {}

    async def get(self, name: Hashable, compute: Callable[[], Awaitable[T]]) -> T:
        """
        Return a value shared by all viewers of the same thing.

        Args:
            name: Identifies the value; one of few, never a caller's text.
            compute: Computes it.
        """
        shared = self._by_name.setdefault(name, Shared(self._now))
        return cast("T", await shared.get(compute))

    def _now(self) -> Hashable:
        services = self._services
        minute = services.samples.current()
        # The second covers changes without a notification: time passing, and writes of peers.
        second = services.clock().replace(microsecond=0)
        return services.events.version, minute.admitted, minute.refused, second
