"""Verifies the audit log in the background, one run at a time, while the store keeps working."""

import asyncio
import threading
from collections.abc import Awaitable, Callable

from sqlalchemy import Connection

from lyftdata.core.audit import ChainReport
from lyftdata.store import audit_tree
from lyftdata.store.errors import StoreError

_REST_S = 0.005

Verify = Callable[[Connection], ChainReport]


class AuditCheck:
    """
    Runs the check of the whole audit chain.

    Args:
        key: Keys the chain.
        read: Runs a read operation on its own connection.
        count: Returns how many events the log has.
    """

    def __init__(
        self, *, key: bytes, read: Callable[[Verify], Awaitable[ChainReport]], count: Callable[[], int]
    ) -> None:
        self._key = key
        self._read = read
        self._count = count
        self._ending = threading.Event()
        self._last_was_ok = True
        self._progress = (0, 0)
        self._running = asyncio.Lock()
        self._next: asyncio.Future[ChainReport] | None = None

    @property
    def last_was_ok(self) -> bool:
        """Return True unless the last check found a fault."""
        return self._last_was_ok

    async def verify(self) -> ChainReport:
        """
        Check every link of the chain, and its end.

        Only one check runs at a time, since a long log keeps a reader busy: a call during a check waits for the next one, and all
        callers that wait share its result.
        """
        if self._next is None:
            self._next = asyncio.ensure_future(self._run())
        return await asyncio.shield(self._next)

    def progress(self) -> tuple[int, int]:
        """Return how many events the running check has checked, and how many there are; zeros if none is running."""
        return self._progress

    def end(self) -> None:
        """Stop the running check, because the store is about to close."""
        self._ending.set()

    async def _run(self) -> ChainReport:
        async with self._running:
            # Callers from here on get the next check: an event that this one has already read may be changed after it.
            self._next = None
            written = self._count()
            try:
                report = await self._read(
                    lambda conn: audit_tree.verify(
                        conn,
                        key=self._key,
                        written=written,
                        between=self._rest,
                        on_progress=self._note_progress,
                    )
                )
            finally:
                self._progress = (0, 0)
            self._last_was_ok = report.ok
            return report

    def _note_progress(self, _stage: str, done: int, total: int) -> None:
        self._progress = (done, total)

    def _rest(self) -> None:
        """Yield the processor during a long check; abort the check if the store is about to close."""
        if self._ending.wait(_REST_S):
            raise StoreError("The store is closed.")
