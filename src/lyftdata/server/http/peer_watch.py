"""
Notices when the peer of a connection has gone, without a task for each connection.

Thousands of polls are held for minutes each, and all are answered at once when a Server stops: a task that waits next to
every one of them is what a third of that costs.
"""

import asyncio
from collections.abc import Callable, Generator
from typing import Any, cast

from starlette.types import Message, Receive


def watch_peer(receive: Receive, on_closed: Callable[[], None]) -> Callable[[], None]:
    """
    Have something called once the peer has closed its connection.

    Args:
        receive: The request's, whose body was read; it waits for nothing but the event loop's futures.
        on_closed: Called in the event loop; before this returns if the peer has gone already.

    Returns:
        What ends the watch: nothing is called after it.
    """
    watch = _Watch(receive, on_closed)
    watch.go_on()
    return watch.end


class _Watch:
    """Waits for what `receive` gives as a task would: asks, is called when there is more to know, and asks on."""

    __slots__ = ("_asking", "_is_over", "_on_closed", "_receive")

    def __init__(self, receive: Receive, on_closed: Callable[[], None]) -> None:
        self._receive = receive
        self._on_closed = on_closed
        self._asking = _asked(receive)
        self._is_over = False

    def go_on(self, _done: "asyncio.Future[Any] | None" = None) -> None:
        """Drive the pending receive until it has to wait, or the peer has gone."""
        while not self._is_over:
            try:
                waiting = next(self._asking)
            except StopIteration as answered:
                if answered.value["type"] == "http.disconnect":
                    self._is_over = True
                    self._on_closed()
                    return
                self._asking = _asked(self._receive)
            else:
                # What a task does with a future that it is given to wait for.
                waiting._asyncio_future_blocking = False  # noqa: SLF001 - asyncio's protocol between the two
                waiting.add_done_callback(self.go_on)
                return

    def end(self) -> None:
        """Ask no longer; who waits is taken off the list, as in a task that is cancelled."""
        self._is_over = True
        self._asking.close()


def _asked(receive: Receive) -> "Generator[asyncio.Future[Any], None, Message]":
    return cast("Generator[asyncio.Future[Any], None, Message]", receive().__await__())
