"""
Detects clients that register again at each start, and removes the registrations that they have replaced.

The groups are found every 20 seconds (`core.registration_groups`). A group is logged when it appears, and is an alert while it exists.
Its replaced entries are removed once they have been unused for a time, or, if there are too many, after an hour or two, so that
a client that starts every second fills neither lists nor the database.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial

from lyftdata.core.log_events.server import REPEATED_REGISTRATIONS
from lyftdata.core.records import AuditEvent, WorkerRecord
from lyftdata.core.registration_groups import RegistrationGroup, find_groups, may_be_replaced
from lyftdata.core.times import format_time
from lyftdata.log import emit, get_logger
from lyftdata.server.admin.leaving_workers import LeavingWorkers
from lyftdata.server.admission.directory import Directory
from lyftdata.server.clock import Clock
from lyftdata.server.metrics import Metrics
from lyftdata.server.sessions.batched import in_parts
from lyftdata.server.sessions.registry import Sessions
from lyftdata.store import Store, WriteTx
from lyftdata.store.tables import activity, workers

_log = get_logger(__name__)

MAX_REPLACED = 50
# Longer than the usual lifetime of a token.
_SURPLUS_KEPT_FOR = timedelta(hours=2)


class RepeatedRegistrations:
    """
    The groups of replaced registrations, as of the last check.

    Args:
        store: Stores the entries.
        directory: Lists them.
        sessions: Which Workers are connected.
        leaving: Keeps Workers from connecting while they are removed.
        metrics: Counts them.
        kept_for: How long a replaced entry must be unused before it is removed; None keeps all of them.
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
        kept_for: timedelta | None,
        clock: Clock,
    ) -> None:
        self._store = store
        self._directory = directory
        self._sessions = sessions
        self._leaving = leaving
        self._metrics = metrics
        self._kept_for = kept_for
        self._clock = clock
        self._groups: Sequence[RegistrationGroup] = ()

    def groups(self) -> Sequence[RegistrationGroup]:
        """Return the groups, the largest first."""
        return self._groups

    async def look(self) -> int:
        """Find the groups, log new ones, and remove entries that were replaced long ago; return how many were removed."""
        now = self._clock()
        candidates = [w for w in self._directory.workers() if may_be_replaced(w)]
        last_used = await self._last_used([worker.id for worker in candidates])
        offline = [worker for worker in candidates if not self._sessions.is_online(worker.id)]
        groups = find_groups(offline, last_used=last_used, now=now)
        self._log_new(groups)
        removed = 0
        if self._kept_for is not None:
            for part in in_parts(self._outdated(groups, last_used, now)):
                removed += await self._remove(part, now)
        self._groups = [group for group in groups if any(map(self._is_there, group.replaced))]
        self._metrics.set_replaced_registrations(
            sum(self._is_there(worker) for group in self._groups for worker in group.replaced)
        )
        return removed

    async def _last_used(self, worker_ids: Sequence[str]) -> dict[str, datetime]:
        found: dict[str, datetime] = {}
        for part in in_parts(worker_ids):
            found |= await self._store.read(partial(activity.last_used, worker_ids=part))
        return found

    def _is_there(self, worker: WorkerRecord) -> bool:
        return self._directory.find_worker(worker.id) is not None

    def _log_new(self, groups: Iterable[RegistrationGroup]) -> None:
        known = {(group.name, group.address) for group in self._groups}
        for group in groups:
            if (group.name, group.address) not in known:
                emit(
                    _log,
                    REPEATED_REGISTRATIONS,
                    name=group.name,
                    address=group.address,
                    replaced=len(group.replaced),
                )

    def _outdated(
        self, groups: Iterable[RegistrationGroup], last_used: Mapping[str, datetime], now: datetime
    ) -> list[str]:
        kept_for = self._kept_for or timedelta.max
        return [
            worker.id
            for group in groups
            for place, worker in enumerate(group.replaced)
            if now - max(last_used.get(worker.id, worker.created_at), worker.created_at)
            >= (kept_for if place < MAX_REPLACED else min(kept_for, _SURPLUS_KEPT_FOR))
        ]

    async def _remove(self, worker_ids: Collection[str], now: datetime) -> int:
        with self._leaving.marked(worker_ids) as offline:
            return await self._store.write(partial(_remove_unused, worker_ids=offline, now=now))


def _remove_unused(tx: WriteTx, *, worker_ids: Collection[str], now: datetime) -> int:
    unused_since = now - _SURPLUS_KEPT_FOR
    # Checked again: another Server may have just admitted one of them.
    gone = [
        worker
        for worker in workers.find_absent(
            tx.conn, worker_ids, seen_since=unused_since, token_since=unused_since
        )
        if may_be_replaced(worker)
    ]
    seen = activity.last_used(tx.conn, [worker.id for worker in gone])
    workers.delete_workers(tx, [worker.id for worker in gone])
    for worker in gone:
        tx.audit(_event(worker, seen.get(worker.id), at=now))
    return len(gone)


def _event(worker: WorkerRecord, last_used: datetime | None, *, at: datetime) -> AuditEvent:
    known = {
        "name": worker.name,
        "enrolled_with": worker.enrolled_with or "",
        "enrolled_from": worker.enrolled_from or "",
        "thumbprint": worker.thumbprint or "",
        "superseded_by": worker.superseded_by or "",
        "last_used": "" if last_used is None else format_time(last_used),
    }
    return AuditEvent(
        at=at,
        actor="server",
        action="worker.replaced_removed",
        subject=f"worker:{worker.id}",
        details={name: value for name, value in known.items() if value},
    )
