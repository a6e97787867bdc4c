"""
Records from which networks each Worker's tokens were requested: collected in memory, written in batches.

One origin is a network, a credential and an audience. A request with a known origin costs a dictionary lookup; an
origin is written at most once a minute, and a bounded number of them each second, however many tokens are
issued. A crash loses at most a minute.

    origins.token_given(worker_id, ...)      # after each token
    await origins.flush()                    # each second
    await origins.origins_of([worker_id])    # what operators see
"""

import asyncio
from collections import OrderedDict
from collections.abc import Collection, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import islice

import msgspec

from lyftdata.core.networks import network_of_host
from lyftdata.core.records import TokenOriginRecord
from lyftdata.server.sessions.batched import in_parts
from lyftdata.store import Store
from lyftdata.store.tables import token_origins

_WRITE_AGAIN_AFTER = timedelta(minutes=1)
_ALWAYS = datetime.min.replace(tzinfo=UTC)
_MAX_PER_FLUSH = 2_000
_MAX_WORKERS = 50_000
_MAX_PENDING = 100_000


class _Known(msgspec.Struct):
    """
    An origin as this Server knows it: modified in place, since a new record for each token would cost more than everything else here.

    Attributes:
        first: The record from when it was first seen, or when the last alarm was raised.
        last_at: When the last token was issued.
        address: The address that got it.
        written_at: The `last_at` that was last written; None if it never was.
        due_at: When it is written again, if another token is issued.
    """

    first: TokenOriginRecord
    last_at: datetime
    address: str
    written_at: datetime | None = None
    due_at: datetime = _ALWAYS

    def as_record(self) -> TokenOriginRecord:
        return msgspec.structs.replace(self.first, last_at=self.last_at, address=self.address)


_Key = tuple[str, str, str]


class TokenOrigins:
    """
    The origins of tokens, merged until the next flush.

    Args:
        store: Keeps the last few of each Worker.
        max_workers: How many Workers' origins are cached; for others, each request is written again.
    """

    def __init__(self, *, store: Store, max_workers: int = _MAX_WORKERS) -> None:
        self._store = store
        self._max_workers = max_workers
        self._known: OrderedDict[str, dict[_Key, _Known]] = OrderedDict()
        # By key, so that an origin is pending only once.
        self._pending: dict[tuple[str, _Key], _Known] = {}
        self._flushing = asyncio.Lock()

    def token_given(
        self, worker_id: str, *, address: str, credential: str, audience: str, at: datetime
    ) -> None:
        """Record an issued token; `credential` is kind and value, without the epoch."""
        self._touch(worker_id, address, credential, audience, at)

    def mark_elsewhere(
        self,
        worker_id: str,
        *,
        address: str,
        credential: str,
        audience: str,
        at: datetime,
        session_address: str,
    ) -> None:
        """Record a token that was issued while the Worker was connected from another network."""
        known = self._touch(worker_id, address, credential, audience, at)
        known.first = msgspec.structs.replace(known.first, elsewhere_at=at, session_address=session_address)
        self._add_pending((worker_id, (known.first.network, credential, audience)), known)

    def forget(self, worker_id: str) -> None:
        """Drop the origins of a deleted Worker."""
        for key in self._known.pop(worker_id, {}):
            self._pending.pop((worker_id, key), None)

    async def origins_of(self, worker_ids: Collection[str]) -> list[TokenOriginRecord]:
        """Return the last origins of these Workers, the latest first."""
        await self._write(dict(self._unwritten(worker_ids)))
        return await self._store.read(lambda conn: token_origins.list_origins(conn, worker_ids))

    async def last_uses(
        self, credentials: Collection[str], *, since: datetime
    ) -> dict[str, dict[str, datetime]]:
        """Return when each Worker last got a token with these credentials, by credential and Worker ID; not before `since`."""
        records = await self._store.read(
            lambda conn: token_origins.list_by_credential(conn, credentials, since=since)
        )
        here = [known.as_record() for of_worker in self._known.values() for known in of_worker.values()]
        found: dict[str, dict[str, datetime]] = {credential: {} for credential in credentials}
        for use in [*records, *here]:
            workers = found.get(use.credential)
            if workers is not None and use.last_at >= since:
                workers[use.worker_id] = max(use.last_at, workers.get(use.worker_id, use.last_at))
        return found

    async def flush(self) -> None:
        """Write a bounded amount of what is pending, in batches; what could not be written stays pending."""
        await self._write(dict(islice(self._pending.items(), _MAX_PER_FLUSH)))

    async def flush_all(self) -> None:
        """Write everything, including what was last written less than a minute ago."""
        await self._write(self._pending | dict(self._unwritten(list(self._known))))

    async def _write(self, wanted: Mapping[tuple[str, _Key], _Known]) -> None:
        async with self._flushing:
            for part in in_parts(wanted.items()):
                records = [known.as_record() for _, known in part]
                await self._store.write(partial(token_origins.merge_origins, origins=records))
                for (key, known), record in zip(part, records, strict=True):
                    known.written_at = record.last_at
                    known.due_at = record.last_at + _WRITE_AGAIN_AFTER
                    # Not changed while it was being written.
                    if known.as_record() == record:
                        self._pending.pop(key, None)

    def _touch(self, worker_id: str, address: str, credential: str, audience: str, at: datetime) -> _Known:
        key = (network_of_host(address), credential, audience)
        of_worker = self._known.get(worker_id)
        if of_worker is None:
            of_worker = self._remember(worker_id)
        self._known.move_to_end(worker_id)
        known = of_worker.get(key)
        if known is None:
            known = of_worker[key] = _Known(_first_record(worker_id, key, address, at), at, address)
            # Memory exhaustion: a client may come from ever new networks.
            if len(of_worker) > token_origins.KEPT_OF_A_WORKER:
                del of_worker[next(iter(of_worker))]
        known.last_at, known.address = at, address
        if at >= known.due_at:
            self._add_pending((worker_id, key), known)
        return known

    def _add_pending(self, key: tuple[str, _Key], known: _Known) -> None:
        # Memory exhaustion, if the database does not answer: drop what exceeds the limit.
        if key in self._pending or len(self._pending) < _MAX_PENDING:
            self._pending[key] = known

    def _remember(self, worker_id: str) -> dict[_Key, _Known]:
        of_worker = self._known[worker_id] = {}
        # Memory exhaustion, with many Workers: if one is evicted, each of its requests is written again.
        if len(self._known) > self._max_workers:
            self._known.popitem(last=False)
        return of_worker

    def _unwritten(self, worker_ids: Iterable[str]) -> Iterable[tuple[tuple[str, _Key], _Known]]:
        for worker_id in worker_ids:
            for key, known in self._known.get(worker_id, {}).items():
                if known.written_at is None or known.last_at > known.written_at:
                    yield (worker_id, key), known


def _first_record(worker_id: str, key: _Key, address: str, at: datetime) -> TokenOriginRecord:
    network, credential, audience = key
    return TokenOriginRecord(
        worker_id=worker_id,
        network=network,
        credential=credential,
        audience=audience,
        address=address,
        first_at=at,
        last_at=at,
    )
