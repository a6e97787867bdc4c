"""
Detects that the peer of a connection has gone, without a task for each connection.

Thousands of polls are held for minutes each, and all are answered at once when a Server stops: with a waiting task for each of
them, a third of the cost would be those tasks.
"""

import asyncio
from collections.abc import Callable, Generator
from typing import Any, cast

from starlette.types import Message, Receive


def watch_peer(receive: Receive, on_closed: Callable[[], None]) -> Callable[[], None]:
    """
    Call a function once the peer has closed its connection.

    Args:
        receive: Of a request whose body has been read; it only awaits futures of the event loop.
        on_closed: Called in the event loop; before this returns if the peer has already gone.

    Returns:
        A function that ends the watch: `on_closed` is not called after it.
    """
    watch = _Watch(receive, on_closed)
    watch.go_on()
    return watch.end


class _Watch:
    """Drives `receive` as a task would: starts it, is called back when its future is done, and continues it."""

    __slots__ = ("_asking", "_is_over", "_on_closed", "_receive")

    def __init__(self, receive: Receive, on_closed: Callable[[], None]) -> None:
        self._receive = receive
        self._on_closed = on_closed
        self._asking = _asked(receive)
        self._is_over = False

    def go_on(self, _done: "asyncio.Future[Any] | None" = None) -> None:
        """Drive the pending `receive` until it has to wait, or the peer has gone."""
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
                # A task does this with a future that it must wait for.
                waiting._asyncio_future_blocking = False  # noqa: SLF001 - asyncio's protocol between the two
                waiting.add_done_callback(self.go_on)
                return

    def end(self) -> None:
        """Stop; a waiting `receive` is cancelled, as in a cancelled task."""
        self._is_over = True
        self._asking.close()


def _asked(receive: Receive) -> "Generator[asyncio.Future[Any], None, Message]":
    return cast("Generator[asyncio.Future[Any], None, Message]", receive().__await__())
