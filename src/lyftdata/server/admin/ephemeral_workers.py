"""
Removes ephemeral Workers that have left.

     signed off    at once, before the Worker reads that its session has ended
     absent        not connected for a time, and without an unexpired token

Never while a boot of its program is connected, at any Server. The time counts only while this Server could be reached: it starts
again after a start, an outage of the database or a pause of the machine, so that an outage removes no Worker. What is known
about a removed Worker is in its audit event; its name is free.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import partial

from sqlalchemy import Connection, select

from lyftdata.core.records import AuditEvent, WorkerRecord
from lyftdata.core.times import format_time
from lyftdata.server.admin.leaving_workers import LeavingWorkers
from lyftdata.server.admission.directory import Directory
from lyftdata.server.clock import Clock
from lyftdata.server.metrics import Metrics
from lyftdata.server.sessions.batched import in_parts
from lyftdata.server.sessions.registry import Sessions
from lyftdata.store import Store, WriteTx
from lyftdata.store.tables import activity, presence, workers

# A longer gap between two checks was an outage of the database, or of the machine.
_MAX_GAP = timedelta(minutes=2)
# The time of a token is written at most once a minute.
_TOKEN_WRITTEN_WITHIN = timedelta(minutes=2)


class EphemeralWorkers:
    """
    Detects ephemeral Workers that have left, and removes their entries.

    Args:
        store: Stores the entries.
        directory: Lists the ephemeral ones.
        sessions: Which Workers are connected.
        leaving: Keeps Workers from connecting while they are removed.
        metrics: Counts those that left.
        after: How long a Worker must be absent.
        token_ttl: Lifetime of a worker token.
        clock: Returns aware UTC time.
    """

    def __init__(
        self,
        *,
        store: Store,
        directory: Directory,
        sessions: Sessions,
        leaving: LeavingWorkers,
        metrics: Metrics,
        after: timedelta,
        token_ttl: timedelta,
        clock: Clock,
    ) -> None:
        self._store = store
        self._directory = directory
        self._sessions = sessions
        self._metrics = metrics
        self._after = after
        self._token_after = max(after, token_ttl + _TOKEN_WRITTEN_WITHIN)
        self._clock = clock
        self._reachable_since = self._looked_at = clock()
        self._leaving = leaving

    async def sign_off(self, worker: WorkerRecord, *, boot_id: str, address: str) -> bool:
        """
        Remove a Worker that has signed off, unless another boot of its program is connected; durable when this returns.

        Args:
            worker: Its entry; nothing happens if it is not ephemeral.
            boot_id: The boot that has signed off.
            address: Where the sign-off came from.

        Returns:
            Whether it was removed.
        """
        if not worker.ephemeral:
            return False
        event = _event(worker, f"worker:{worker.id}", "signed_off", at=self._clock(), address=address)
        with self._leaving.marked([worker.id]) as free:
            remove = partial(_remove_signed_off, event, worker.id, boot_id)
            is_removed = bool(free) and await self._store.write(remove)
        self._metrics.workers_left("signed_off", int(is_removed))
        return is_removed

    async def remove_absent(self) -> int:
        """Remove the Workers that have been absent long enough; return how many. Call it twice a minute."""
        now = self._clock()
        if now - self._looked_at > _MAX_GAP:
            self._reachable_since = now
        # Raises during an outage of the database, even if nothing is to be removed: this check does not count then.
        await self._store.read(_ping)
        removed = 0
        if now - self._reachable_since >= self._after:
            for part in in_parts(self._candidates(now)):
                removed += await self._remove_if_absent(part, now)
        self._looked_at = now
        self._metrics.workers_left("absent", removed)
        return removed

    def _candidates(self, now: datetime) -> list[str]:
        return [
            worker.id
            for worker in self._directory.ephemeral_workers()
            if worker.enabled
            # A Worker that waits for approval is not connected either; once it is approved, it gets the full time to connect.
            and worker.approval is None
            and (worker.approval_since or worker.created_at) < now - self._after
            and not self._sessions.is_online(worker.id)
        ]

    async def _remove_if_absent(self, worker_ids: Sequence[str], now: datetime) -> int:
        with self._leaving.marked(worker_ids) as offline:
            return await self._store.write(partial(self._remove_absent, worker_ids=offline, now=now))

    def _remove_absent(self, tx: WriteTx, *, worker_ids: Sequence[str], now: datetime) -> int:
        absent = workers.find_absent(
            tx.conn, worker_ids, seen_since=now - self._after, token_since=now - self._token_after
        )
        gone = [worker for worker in absent if worker.ephemeral]
        seen = activity.find_traces(tx.conn, [worker.id for worker in gone])
        for worker in gone:
            traces = seen.get(worker.id)
            last_seen = None if traces is None else traces.last_seen_at
            tx.audit(_event(worker, "server", "absent", at=now, last_seen=last_seen))
        workers.delete_workers(tx, [worker.id for worker in gone])
        return len(gone)


def _ping(conn: Connection) -> None:
    conn.execute(select(1))


def _remove_signed_off(event: AuditEvent, worker_id: str, boot_id: str, tx: WriteTx) -> bool:
    worker = workers.find_worker(tx.conn, worker_id)
    # An operator made a decision about a disabled Worker; it must not come back as another one.
    if worker is None or not worker.enabled:
        return False
    connected = presence.find(tx.conn, worker_id)
    if connected is not None and connected.boot_id != boot_id:
        return False
    workers.delete_workers(tx, [worker_id])
    tx.audit(event)
    return True


def _event(
    worker: WorkerRecord,
    actor: str,
    why: str,
    *,
    at: datetime,
    address: str = "",
    last_seen: datetime | None = None,
) -> AuditEvent:
    known = {
        "name": worker.name,
        "why": why,
        "enrolled_with": worker.enrolled_with or "",
        "enrolled_from": worker.enrolled_from or "",
        "thumbprint": worker.thumbprint or "",
        "last_seen": "" if last_seen is None else format_time(last_seen),
    }
    return AuditEvent(
        at=at,
        actor=actor,
        action="worker.left",
        subject=f"worker:{worker.id}",
        address=address,
        details={name: value for name, value in known.items() if value},
    )
