"""
Records when Workers were connected: collected in memory, written within a second.

A crash loses a second of it, and the ends of the sessions open at the time: such a session has no end, but is not a current one.
"""

import asyncio
from collections.abc import Collection
from datetime import datetime
from functools import partial

from lyftdata.core.records import WorkerSessionRecord
from lyftdata.server.clock import Clock
from lyftdata.server.sessions.batched import in_parts
from lyftdata.server.sessions.session import Session
from lyftdata.store import Store
from lyftdata.store.tables import worker_sessions


class SessionLog:
    """Keeps the last sessions of each Worker; a Worker that reconnects all the time costs no more than others."""

    def __init__(self, *, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._pending: dict[str, dict[object, WorkerSessionRecord]] = {}
        self._flushing = asyncio.Lock()

    def session_started(self, session: Session) -> None:
        """Record that a Worker has connected."""
        self._note(_record(session))

    def ended(self, session: Session, end: str) -> None:
        """Record that a session has ended, and why."""
        self._note(_record(session, ended_at=self._clock(), end=end))

    def _note(self, record: WorkerSessionRecord) -> None:
        of_worker = self._pending.setdefault(record.worker_id, {})
        of_worker[record.started_at] = record
        if len(of_worker) > worker_sessions.KEPT_OF_A_WORKER:
            del of_worker[next(iter(of_worker))]

    async def sessions_of(self, worker_id: str) -> list[WorkerSessionRecord]:
        """Return the last sessions of a Worker, the latest first."""
        await self.flush()
        return await self._store.read(lambda conn: worker_sessions.list_sessions(conn, worker_id))

    async def recent_ends(self, since: datetime) -> dict[str, WorkerSessionRecord]:
        """Return, by Worker, the last session that has ended since a time."""
        await self.flush()
        ended = await self._store.read(lambda conn: worker_sessions.ended_since(conn, since))
        return {record.worker_id: record for record in ended}

    async def last_starts(self, worker_ids: Collection[str]) -> dict[str, datetime]:
        """Return when the last session of each of these Workers began; Workers without one are left out."""
        pending = {
            worker_id: max(record.started_at for record in of_worker.values())
            for worker_id in worker_ids
            if (of_worker := self._pending.get(worker_id))
        }
        kept = await self._store.read(lambda conn: worker_sessions.last_starts(conn, worker_ids))
        return kept | pending

    async def flush(self) -> None:
        """Write what is pending to the store, in batches; what could not be written stays pending."""
        async with self._flushing:
            pending, self._pending = self._pending, {}
            records = [record for of_worker in pending.values() for record in of_worker.values()]
            try:
                for part in in_parts(records):
                    await self._store.write(partial(worker_sessions.upsert_sessions, sessions=part))
            except BaseException:
                for worker_id, of_worker in self._pending.items():
                    pending[worker_id] = pending.get(worker_id, {}) | of_worker
                self._pending = pending
                raise


def _record(session: Session, **end: object) -> WorkerSessionRecord:
    return WorkerSessionRecord(
        worker_id=session.worker_id,
        started_at=session.since,
        address=session.boot.address,
        host=session.boot.host,
        **end,  # type: ignore[arg-type]  # ended_at and end, given together
    )
