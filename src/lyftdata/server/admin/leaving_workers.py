"""
Keeps a Worker from connecting while the removal of its entry is decided.

Which Workers are connected is only known in memory if there is one Server; with several, the database knows it too.
"""

import asyncio
import contextlib
from collections.abc import Collection, Iterator

from lyftdata.server.sessions.registry import Sessions


class LeavingWorkers:
    """
    The Workers whose removal is being decided.

    Args:
        sessions: Which Workers are connected.
    """

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions
        self._decisions: dict[str, asyncio.Event] = {}

    @contextlib.contextmanager
    def marked(self, worker_ids: Collection[str]) -> Iterator[list[str]]:
        """
        Mark and yield those of these Workers that are not connected to this Server and not marked yet.

        A boot that connects meanwhile waits (`wait`), and then finds the entry in its new state: it is never connected without one. There is
        no await between checking for a connection and setting the mark.
        """
        free = [w for w in worker_ids if w not in self._decisions and self._sessions.find_here(w) is None]
        decided = asyncio.Event()
        self._decisions |= dict.fromkeys(free, decided)
        try:
            yield free
        finally:
            for worker_id in free:
                del self._decisions[worker_id]
            decided.set()

    async def wait(self, worker_id: str) -> None:
        """Wait until the removal of a Worker's entry is decided; the entry must be looked up again afterwards."""
        decided = self._decisions.get(worker_id)
        if decided is not None:
            await decided.wait()
