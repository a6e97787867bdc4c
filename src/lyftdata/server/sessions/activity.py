"""
Records when Workers were last seen and keys last used: collected in memory, written within a second, or a minute (`api_key_uses`).

The token path only sets a dictionary entry. A crash loses the activity of that time, but never a decision.
"""

import asyncio
from collections.abc import Mapping
from datetime import datetime
from functools import partial

import msgspec

from lyftdata.core.records import WorkerTraces
from lyftdata.server.clock import Clock
from lyftdata.server.sessions.api_key_uses import ApiKeyUses
from lyftdata.server.sessions.batched import in_parts
from lyftdata.store import Store
from lyftdata.store.tables import activity, enrollment_key_uses, workers


class ActivityLog:
    """The activity of Workers, merged per Worker until the next flush."""

    def __init__(self, *, store: Store, seen: set[str], clock: Clock) -> None:
        self._store = store
        self._api_key_uses = ApiKeyUses(store=store, clock=clock)
        self._workers: dict[str, WorkerTraces] = {}
        self._left: dict[str, datetime] = {}
        self._admitted: dict[str, datetime] = {}
        self._enrollment_keys: dict[str, datetime] = {}
        self._signs_for: dict[str, str] = {}
        # Being written: no longer pending, but not yet readable from the store.
        self._workers_in_flight: dict[str, WorkerTraces] = {}
        self._flushing = asyncio.Lock()
        self.seen = seen
        """IDs of Workers that have ever been connected."""

    def worker_seen(
        self, worker_id: str, *, at: datetime, address: str, api_key_name: str | None, host: dict[str, str]
    ) -> None:
        """Record that a Worker is connected now."""
        self.seen.add(worker_id)
        self._workers[worker_id] = WorkerTraces(
            worker_id=worker_id, last_seen_at=at, address=address, api_key_name=api_key_name, host=host
        )

    def worker_left(self, worker_id: str, *, at: datetime) -> None:
        """Record the last moment at which a Worker was connected; the rest of its activity stays."""
        before = self._workers.get(worker_id)
        if before is not None:
            self._workers[worker_id] = msgspec.structs.replace(before, last_seen_at=at)
        else:
            self._left[worker_id] = at

    def key_used(self, public_id: str, worker_id: str, *, at: datetime) -> None:
        """Record by whom an API key was last used."""
        self._api_key_uses.note(public_id, worker_id, at=at)

    def token_given(self, worker_id: str, *, at: datetime) -> None:
        """Record that a Worker was accepted now; only in memory, to tell which refusals are older."""
        self._admitted[worker_id] = at

    def admitted_at(self, worker_id: str) -> datetime | None:
        """Return when a Worker last got a token from this Server since its start, or None."""
        return self._admitted.get(worker_id)

    def signed_for(self, worker_id: str, issuer: str) -> None:
        """Record that a Worker signs for a different issuer than its entry says."""
        self._signs_for[worker_id] = issuer

    def enrollment_key_used(self, fingerprint: str, *, at: datetime) -> None:
        """Record a successful proof of an enrollment key."""
        self._enrollment_keys[fingerprint] = at

    def enrollment_key_pending(self, fingerprint: str) -> datetime | None:
        """Return the last use of an enrollment key that is not yet written."""
        return self._enrollment_keys.get(fingerprint)

    def forget(self, worker_id: str) -> None:
        """Drop pending activity of a deleted Worker."""
        self.seen.discard(worker_id)
        self._workers.pop(worker_id, None)
        self._left.pop(worker_id, None)
        self._admitted.pop(worker_id, None)

    def left_at(self, worker_id: str) -> datetime | None:
        """Return when a Worker was last connected, if that is not yet written."""
        return self._left.get(worker_id)

    def pending(self, worker_id: str) -> WorkerTraces | None:
        """Return the activity of a Worker that is not yet written."""
        return self._workers.get(worker_id) or self._workers_in_flight.get(worker_id)

    def key_pending(self, public_id: str) -> tuple[datetime, str] | None:
        """Return the last use of a key that is not yet written."""
        return self._api_key_uses.pending(public_id)

    async def flush(self) -> None:
        """Write what is pending to the store, in batches; what could not be written stays pending."""
        async with self._flushing:
            self._workers_in_flight, self._workers = self._workers, {}
            left, enrollment_keys = dict(self._left), dict(self._enrollment_keys)
            try:
                await self._write_issuers()
                await self._write(self._workers_in_flight, left, enrollment_keys)
                await self._api_key_uses.flush()
            except BaseException:
                self._workers = self._workers_in_flight | self._workers
                raise
            else:
                self._left = _without(self._left, left)
                self._enrollment_keys = _without(self._enrollment_keys, enrollment_keys)
            finally:
                self._workers_in_flight = {}

    async def flush_all(self) -> None:
        """Write everything, including what is written only once a minute."""
        await self.flush()
        await self._api_key_uses.flush_all()

    async def _write_issuers(self) -> None:
        for part in in_parts(list(self._signs_for.items())):
            await self._store.write(partial(workers.set_signs_for, issuers=dict(part)))
            for worker_id, issuer in part:
                if self._signs_for.get(worker_id) == issuer:
                    del self._signs_for[worker_id]

    async def _write(
        self,
        seen_workers: Mapping[str, WorkerTraces],
        left: Mapping[str, datetime],
        enrollment_keys: Mapping[str, datetime],
    ) -> None:
        for seen in in_parts(seen_workers.values()):
            await self._store.write(partial(activity.upsert_traces, traces=seen))
        for gone in in_parts(left.items()):
            await self._store.write(partial(activity.touch_last_seen, seen=dict(gone)))
        if enrollment_keys:
            await self._store.write(partial(enrollment_key_uses.touch_last_used, uses=enrollment_keys))


def _without(pending: Mapping[str, datetime], written: Mapping[str, datetime]) -> dict[str, datetime]:
    """Return the entries that have changed since they were written."""
    return {name: at for name, at in pending.items() if written.get(name) != at}
