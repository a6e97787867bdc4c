"""
Lets each Worker have only so many questions to the Server open at once; further ones wait for their turn.

Evading a revocation: with `online_fail_open`, a question that is not answered in time admits the Worker. Without turns, a Worker that was just
disabled could send thousands of requests at once: most would wait for a connection to the Server until the time is over, and then be
admitted, with everyone else's for a moment. So a wait for a turn is not an outage: a Worker that waits too long is refused. And the
requests of one Worker delay its own alone.
"""

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

from lyftdata.verify.errors import OnlineCheckUnavailableError

MAX_AT_ONCE = 32
"""A third of the connections that the HTTP library opens to one host."""

SemaphoreT = TypeVar("SemaphoreT")


class _Queue(Generic[SemaphoreT]):
    __slots__ = ("members", "turns")

    def __init__(self, turns: SemaphoreT) -> None:
        self.turns = turns
        self.members = 0


class Turns(Generic[SemaphoreT]):
    """
    The semaphores of the Workers that have questions open; no others are kept. Safe to use from threads.

    Args:
        make: Makes a semaphore of so many turns: one for threads, or one for an event loop.
    """

    def __init__(self, make: Callable[[int], SemaphoreT]) -> None:
        self._make = make
        self._queues: dict[str, _Queue[SemaphoreT]] = {}
        self._lock = threading.Lock()  # held for microseconds

    def join(self, worker_id: str) -> SemaphoreT:
        """Return the semaphore of a Worker, which is kept until as many have left."""
        with self._lock:
            queue = self._queues.get(worker_id)
            if queue is None:
                queue = self._queues[worker_id] = _Queue(self._make(MAX_AT_ONCE))
            queue.members += 1
            return queue.turns

    def leave(self, worker_id: str) -> None:
        """Forget the semaphore if nothing else of this Worker needs it."""
        with self._lock:
            queue = self._queues[worker_id]
            queue.members -= 1
            if not queue.members:
                del self._queues[worker_id]

    def __len__(self) -> int:
        """Return how many Workers have questions open."""
        return len(self._queues)


def waited_too_long() -> OnlineCheckUnavailableError:
    """Return the refusal of a request that did not get its turn in time."""
    return OnlineCheckUnavailableError(
        f"More than {MAX_AT_ONCE} requests of this Worker wait for the Server's answers."
    )
