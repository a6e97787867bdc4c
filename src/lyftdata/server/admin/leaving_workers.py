"""
Keeps a Worker from connecting while it is decided whether its entry is removed.

A single Server knows only in memory who is connected; with several Servers the database knows as well.
"""

import asyncio
import contextlib
from collections.abc import Collection, Iterator

from lyftdata.server.sessions.registry import Sessions


class LeavingWorkers:
    """
    The Workers about whose entries something is being decided.

    Args:
        sessions: Who is connected.
    """

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions
        self._decisions: dict[str, asyncio.Event] = {}

    @contextlib.contextmanager
    def marked(self, worker_ids: Collection[str]) -> Iterator[list[str]]:
        """
        Mark those of these Workers that are not connected to this Server, and about which nothing is being decided yet; yield them.

        A start that connects meanwhile waits (`wait`), and finds the entry as it is then: it is never connected without one. Nothing is
        awaited between the question who is connected and the mark.
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
        """Wait until it is decided whether a Worker's entry is removed; the entry must be looked up again after."""
        decided = self._decisions.get(worker_id)
        if decided is not None:
            await decided.wait()
