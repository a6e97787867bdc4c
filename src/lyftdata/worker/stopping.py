"""Waits that end early when the agent is asked to stop."""

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

T = TypeVar("T")


class Stopping(Exception):  # noqa: N818 - not an error: the way out
    """SIGTERM or SIGINT arrived, or the COMMAND has ended."""


async def unless_stopped(work: Awaitable[T], stop: asyncio.Event) -> T:
    """Await `work`, or raise Stopping as soon as the agent is asked to stop."""
    task = asyncio.ensure_future(work)
    stopped = asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait({task, stopped}, return_when=asyncio.FIRST_COMPLETED)
        if stop.is_set():
            raise Stopping
        return await task
    finally:
        for pending in (task, stopped):
            pending.cancel()
        await asyncio.gather(task, stopped, return_exceptions=True)


async def pause(seconds: float, stop: asyncio.Event) -> None:
    """Sleep, or raise Stopping as soon as the agent is asked to stop."""
    try:
        async with asyncio.timeout(seconds):
            await stop.wait()
    except TimeoutError:
        return
    raise Stopping
