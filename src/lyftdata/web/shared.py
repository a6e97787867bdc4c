"""
Computes what many pages show once for all viewers.

When something happens to the fleet, every open tab reloads its page at the same moment. Computed for each, the
overview of ten thousand Workers would keep the event loop, and so the Workers, waiting for as long as there are tabs.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Hashable
from typing import Any, Generic, TypeVar, cast

from lyftdata.server.runtime.services import Services

T = TypeVar("T")

# However much happens, so long lies between the starts of two computations: who asks in between waits for the next one.
_LEAST_PAUSE_S = 0.2


class Shared(Generic[T]):
    """
    One computed value for all who ask, never one that began to be computed before the state they ask in.

    Args:
        state: Tells one state from the next, by something that is cheap to compare.
        monotonic: Gives seconds on a clock that does not jump.
        sleep: Waits that many seconds.
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
        """Return the value as it is now; raises what `compute` raises."""
        # Shielded: who goes away must not end what others are waiting for.
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
        # From here on a caller in another state waits for another one.
        self._task, self._next = self._next, None
        self._begun_in, self._begun_at_s = self._state(), self._monotonic()
        return await compute()


class SharedValues:
    """The shared values of one Server, by what they are of; none is older than a second."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._by_name: dict[Hashable, Shared[Any]] = {}

    async def get(self, name: Hashable, compute: Callable[[], Awaitable[T]]) -> T:
        """
        Return a value for all who look at the same.

        Args:
            name: What it is of; one of few, never a caller's text.
            compute: Makes it.
        """
        shared = self._by_name.setdefault(name, Shared(self._now))
        return cast("T", await shared.get(compute))

    def _now(self) -> Hashable:
        services = self._services
        minute = services.samples.current()
        # The second stands for all that nothing tells of: times that pass, what other Servers have written.
        second = services.clock().replace(microsecond=0)
        return services.events.version, minute.admitted, minute.refused, second
