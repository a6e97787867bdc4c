"""Polls that wait until no other boot of the same Worker holds its slot."""

import asyncio
from collections.abc import Callable
from functools import partial

# Boots of one Worker that may wait at once; more are refused without waiting.
_MAX_WAITING = 4
MAX_WAIT_FOR_SLOT_S = 25.0


class SlotQueue:
    """By Worker, the polls of other boots that wait for its slot."""

    def __init__(self) -> None:
        self._waiting: dict[str, set[asyncio.Future[bool]]] = {}

    async def wait(
        self,
        worker_id: str,
        *,
        within_s: float,
        watch_peer: Callable[[Callable[[], None]], Callable[[], None]],
    ) -> bool:
        """
        Wait until the slot is freed, or the time is over; return at once if too many are waiting.

        Args:
            worker_id: Whose slot it is.
            within_s: Seconds.
            watch_peer: Takes a function to call when the peer closes its connection; returns a function that ends the watch.

        Returns:
            False if the peer has closed its connection: it must not be attached.
        """
        waiting = self._waiting.setdefault(worker_id, set())
        if len(waiting) >= _MAX_WAITING:
            return True
        loop = asyncio.get_running_loop()
        is_free: asyncio.Future[bool] = loop.create_future()
        waiting.add(is_free)
        timer = loop.call_later(within_s, _resolve, is_free, True)
        unwatch = watch_peer(partial(_resolve, is_free, False))
        try:
            return await is_free
        finally:
            timer.cancel()
            unwatch()
            waiting.discard(is_free)
            if not self._waiting.get(worker_id):
                self._waiting.pop(worker_id, None)

    def free(self, worker_id: str) -> None:
        """Wake the polls that wait for a slot; the first one takes it, and the others are refused."""
        for is_free in tuple(self._waiting.get(worker_id, ())):
            _resolve(is_free, True)

    def free_all(self) -> None:
        """Wake every waiting poll."""
        for worker_id in tuple(self._waiting):
            self.free(worker_id)


def _resolve(waiting: "asyncio.Future[bool]", outcome: bool) -> None:  # noqa: FBT001 - as futures have it
    if not waiting.done():
        waiting.set_result(outcome)
