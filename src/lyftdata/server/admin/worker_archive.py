"""
Archives Workers that have been inactive for long: lists and counts leave them out, and nothing else changes.

Archiving has no effect on admission. An archived Worker keeps its identity key, its name and its labels, and the first token it gets
takes it out of the archive. Only auto-enrolled Workers are archived, and none that an operator has disabled.
"""

from collections.abc import Collection
from datetime import datetime, timedelta
from functools import partial

import msgspec

from lyftdata.core.records import AuditEvent, Strategy, WorkerRecord
from lyftdata.server.clock import Clock
from lyftdata.server.sessions.batched import in_parts
from lyftdata.store import Store, WriteTx
from lyftdata.store.tables import workers

# If a fleet is switched off at once, each transaction archives a batch, and Workers' requests are answered in between.
_AT_ONCE = 200


class WorkerArchive:
    """
    Archives inactive Workers, and takes those out that are active again.

    Args:
        store: Stores the entries.
        after: How long a Worker must be inactive; None archives none.
        clock: Returns aware UTC time.
    """

    def __init__(self, *, store: Store, after: timedelta | None, clock: Clock) -> None:
        self._store = store
        self._after = after
        self._clock = clock
        self._active_again: set[str] = set()

    def note_active(self, worker_id: str) -> None:
        """Record that an archived Worker got a token or connected: it is taken out within a second."""
        self._active_again.add(worker_id)

    async def archive_inactive(self) -> int:
        """Archive the Workers that have been inactive long enough; return how many."""
        if self._after is None:
            return 0
        total = archived = await self._store.write(partial(self._archive_some, after=self._after))
        while archived == _AT_ONCE:
            archived = await self._store.write(partial(self._archive_some, after=self._after))
            total += archived
        return total

    async def flush(self) -> None:
        """Take Workers out of the archive that are active again; what could not be written stays pending."""
        for part in in_parts(list(self._active_again)):
            await self._store.write(partial(self._take_out, worker_ids=part))
            self._active_again.difference_update(part)

    def _archive_some(self, tx: WriteTx, *, after: timedelta) -> int:
        now = self._clock()
        found = workers.find_inactive(tx.conn, Strategy.AUTO_ENROLLMENT, since=now - after, limit=_AT_ONCE)
        for worker in found:
            workers.replace_worker(tx, msgspec.structs.replace(worker, archived_at=now))
            tx.audit(_event("worker.archived", worker, at=now))
        return len(found)

    def _take_out(self, tx: WriteTx, *, worker_ids: Collection[str]) -> None:
        for worker in workers.find_workers(tx.conn, worker_ids).values():
            if worker.archived_at is not None:
                workers.replace_worker(tx, msgspec.structs.replace(worker, archived_at=None))
                tx.audit(_event("worker.active_again", worker, at=self._clock()))


def _event(action: str, worker: WorkerRecord, *, at: datetime) -> AuditEvent:
    return AuditEvent(
        at=at, actor="server", action=action, subject=f"worker:{worker.id}", details={"name": worker.name}
    )
