"""The line of a process to its supervisor: when to stop, what systemd is to know, and the metrics of the others."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Protocol

from lyftdata.processes.channel import Channel, ChannelClosedError
from lyftdata.processes.messages import (
    Asked,
    GiveMetrics,
    GivenMetrics,
    Hurry,
    Metrics,
    State,
    Stop,
    ToProcess,
    WantMetrics,
)

# One that is busy or hangs is left out of the answer.
_METRICS_WITHIN_S = 2.0


class Stoppable(Protocol):
    """What a process serves with."""

    def stop(self, siblings: frozenset[str]) -> None:
        """Stop; the Servers `siblings` stop as well."""

    def hurry(self) -> None:
        """Wait no longer for what the stop waits for."""


class _Collection:
    """The metrics of the other processes, as they come in."""

    def __init__(self) -> None:
        self.texts: dict[int, str] = {}
        self.done = asyncio.get_running_loop().create_future()
        self._missing: set[int] | None = None

    def expect(self, processes: tuple[int, ...]) -> None:
        self._missing = set(processes) - self.texts.keys()
        self._check()

    def add(self, process: int, text: str) -> None:
        self.texts[process] = text
        if self._missing is not None:
            self._missing.discard(process)
            self._check()

    def _check(self) -> None:
        if not self._missing and not self.done.done():
            self.done.set_result(None)


class SupervisorLink:
    """
    This process's end of the line.

    Args:
        number: Which process this is, from 1.
        channel: The line.
        watchdog_s: Every how many seconds the supervisor must know that the event loop runs; 0 where it does not matter.
    """

    def __init__(self, *, number: int, channel: Channel[ToProcess], watchdog_s: float) -> None:
        self.number = number
        self._channel = channel
        self._watchdog_s = watchdog_s
        self._collections: dict[int, _Collection] = {}
        self._collecting: asyncio.Task[dict[int, str]] | None = None
        self._count = 0

    @contextlib.asynccontextmanager
    async def connected(self, server: Stoppable, render_metrics: Callable[[], bytes]) -> AsyncIterator[None]:
        """
        Do within the block what the supervisor says.

        Args:
            server: Stopped when the supervisor says so, and when it has ended.
            render_metrics: Returns the metrics of this process alone.
        """
        loop = asyncio.get_running_loop()
        loop.add_reader(self._channel.fileno(), self._read, server, render_metrics)
        try:
            yield
        finally:
            loop.remove_reader(self._channel.fileno())
            loop.remove_writer(self._channel.fileno())

    def notify(self, **state: str) -> None:
        """Say what systemd is to know, as `Notifier.notify` does; the supervisor speaks for all processes."""
        self._send(State(state))

    async def notify_watchdog(self) -> None:
        """Say twice in each interval that the event loop runs; returns at once where it does not matter."""
        while self._watchdog_s:
            self.notify(WATCHDOG="1")
            await asyncio.sleep(self._watchdog_s / 2)

    async def collect_metrics(self) -> dict[int, str]:
        """Return the metrics of the other processes, by number; those who ask at once get the same answer."""
        if self._collecting is None or self._collecting.done():
            self._collecting = asyncio.create_task(self._collect())
        return await asyncio.shield(self._collecting)

    async def _collect(self) -> dict[int, str]:
        self._count += 1
        number = self._count
        collection = self._collections[number] = _Collection()
        try:
            self._send(WantMetrics(number))
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(collection.done, _METRICS_WITHIN_S)
            return collection.texts
        finally:
            del self._collections[number]

    def _read(self, server: Stoppable, render_metrics: Callable[[], bytes]) -> None:
        try:
            messages = self._channel.receive()
        except ChannelClosedError:
            # The supervisor was killed, on a system that does not kill this process with it.
            asyncio.get_running_loop().remove_reader(self._channel.fileno())
            server.stop(frozenset())
            server.hurry()
            return
        for message in messages:
            self._handle(message, server, render_metrics)

    def _handle(self, message: ToProcess, server: Stoppable, render_metrics: Callable[[], bytes]) -> None:
        match message:
            case Stop(siblings):
                server.stop(frozenset(siblings))
            case Hurry():
                server.hurry()
            case GiveMetrics(wanted_by, number):
                self._send(GivenMetrics(wanted_by, number, render_metrics().decode()))
            case Asked(number, processes) if number in self._collections:
                self._collections[number].expect(processes)
            case Metrics(number, process, text) if number in self._collections:
                self._collections[number].add(process, text)
            case _:
                # Of a collection that has been answered.
                pass

    def _send(self, message: State | GivenMetrics | WantMetrics) -> None:
        self._channel.send(message)
        self._flush_when_possible()

    def _flush_when_possible(self) -> None:
        if self._channel.has_unsent():
            asyncio.get_running_loop().add_writer(self._channel.fileno(), self._flush)

    def _flush(self) -> None:
        self._channel.flush()
        if not self._channel.has_unsent():
            asyncio.get_running_loop().remove_writer(self._channel.fileno())
