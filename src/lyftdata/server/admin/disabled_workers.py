"""
Enables Workers again whose disabling had an end that has passed.

Every Server checks this. The entry is read again within the transaction, and writers take turns: only one of them enables it, with one
audit event. A change by an operator in the meantime takes precedence. The Servers' own clocks decide.
"""

from collections.abc import Sequence
from datetime import datetime
from functools import partial

import msgspec

from lyftdata.core.disabling import is_due
from lyftdata.core.epochs import next_epoch
from lyftdata.core.records import AuditEvent, WorkerRecord
from lyftdata.core.times import format_time
from lyftdata.server.admission.directory import Directory
from lyftdata.server.clock import Clock
from lyftdata.server.sessions.batched import in_parts
from lyftdata.store import Store, WriteTx
from lyftdata.store.tables import workers


class DisabledWorkers:
    """
    Ends disabling that has a time limit.

    Args:
        store: Stores the entries.
        directory: Lists those with a time limit, without a query.
        clock: Returns aware UTC time.
    """

    def __init__(self, *, store: Store, directory: Directory, clock: Clock) -> None:
        self._store = store
        self._directory = directory
        self._clock = clock

    async def enable_due(self) -> int:
        """Enable those whose time has come; return how many this Server has enabled. Call it every few seconds."""
        now = self._clock()
        due = [worker.id for worker in self._directory.disabled_until() if is_due(worker, now=now)]
        enabled = 0
        for part in in_parts(due):
            enabled += await self._store.write(partial(_enable, worker_ids=part, now=now))
        return enabled


def _enable(tx: WriteTx, *, worker_ids: Sequence[str], now: datetime) -> int:
    due = [worker for worker in workers.find_workers(tx.conn, worker_ids).values() if is_due(worker, now=now)]
    for worker in due:
        epoch = next_epoch(worker.epoch, now=now)
        workers.replace_worker(
            tx,
            msgspec.structs.replace(
                worker, enabled=True, epoch=epoch, disabled_note=None, disabled_until=None
            ),
        )
        tx.audit(_event(worker, now))
    return len(due)


def _event(worker: WorkerRecord, now: datetime) -> AuditEvent:
    known = {
        "why": "end_of_disabling",
        "until": "" if worker.disabled_until is None else format_time(worker.disabled_until),
        "note": worker.disabled_note or "",
    }
    return AuditEvent(
        at=now,
        actor="server",
        action="worker.enabled",
        subject=f"worker:{worker.id}",
        details={name: value for name, value in known.items() if value},
    )
