"""
Counts each Worker's tokens per hour: collected in memory, written in batches.

    counts.token_given(worker_id, at=now)         # with each token: one dictionary entry
    await counts.flush(now)                       # each second
    await counts.counts_of(worker_id, since=...)  # what operators see

What is collected within a minute is written together. So a crash loses at most the last minute, and the counts of peers are up to
a minute old.
"""

import asyncio
from collections import defaultdict, deque
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import islice

from lyftdata.core.log_events.server import TOKEN_COUNTS_DROPPED
from lyftdata.core.records import TokenCountRecord
from lyftdata.log import emit, get_logger
from lyftdata.server.sessions.batched import in_parts
from lyftdata.store import Store
from lyftdata.store.tables import token_counts

_log = get_logger(__name__)

KEPT_FOR = timedelta(days=30)
_HOUR = timedelta(hours=1)
_COLLECT_FOR = timedelta(minutes=1)
_MAX_PER_FLUSH = 2_000
_MAX_PENDING = 200_000


class _Batch:
    """The tokens of one hour, or of a minute of it, by Worker ID."""

    __slots__ = ("counts", "hour")

    def __init__(self, hour: datetime) -> None:
        self.hour = hour
        self.counts: defaultdict[str, int] = defaultdict(int)


class TokenCounts:
    """
    Counts how many tokens each Worker got per hour.

    Args:
        store: Keeps the counts for 30 days.
        max_pending: How many counts may wait for the database; further ones are dropped, and logged.
    """

    def __init__(self, *, store: Store, max_pending: int = _MAX_PENDING) -> None:
        self._store = store
        self._max_pending = max_pending
        self._collecting = _Batch(datetime.min.replace(tzinfo=UTC))
        self._counts = self._collecting.counts
        self._starts_at = self._ends_at = self._collecting.hour
        self._due: deque[_Batch] = deque()
        self._flushing = asyncio.Lock()

    def token_given(self, worker_id: str, *, at: datetime) -> None:
        """Count an issued token; `at` is aware UTC."""
        if at >= self._ends_at:
            self._start_batch(at)
        self._counts[worker_id] += 1

    def forget(self, worker_id: str) -> None:
        """Drop pending counts of a deleted Worker."""
        for batch in (self._collecting, *self._due):
            batch.counts.pop(worker_id, None)

    async def counts_of(self, worker_id: str, *, since: datetime) -> list[TokenCountRecord]:
        """Return a Worker's hourly counts from `since` on, the earliest first; hours without a token are left out."""
        # Within the lock, so that no count is both in the database and pending.
        async with self._flushing:
            kept = await self._store.read(lambda conn: token_counts.list_counts(conn, worker_id, since=since))
            tokens = {count.hour: count.tokens for count in kept}
            for batch in (*self._due, self._collecting):
                if batch.hour >= since and worker_id in batch.counts:
                    tokens[batch.hour] = tokens.get(batch.hour, 0) + batch.counts[worker_id]
        return [TokenCountRecord(worker_id, hour, tokens[hour]) for hour in sorted(tokens)]

    async def flush(self, now: datetime) -> None:
        """Write complete batches, a bounded amount at once; what could not be written stays pending."""
        # The clock may have been set back.
        if not self._starts_at <= now < self._ends_at:
            self._start_batch(now)
        await self._write(_MAX_PER_FLUSH)

    async def flush_all(self, now: datetime) -> None:
        """Write everything."""
        self._start_batch(now)
        await self._write(None)

    async def prune(self, now: datetime) -> None:
        """Delete counts that are older than 30 days."""
        await self._store.write(partial(token_counts.prune, keep_since=now - KEPT_FOR))

    def _start_batch(self, at: datetime) -> None:
        if self._collecting.counts:
            self._add_due(self._collecting)
        hour = at.replace(minute=0, second=0, microsecond=0)
        self._collecting = _Batch(hour)
        self._counts = self._collecting.counts
        self._starts_at, self._ends_at = at, min(at + _COLLECT_FOR, hour + _HOUR)

    def _add_due(self, batch: _Batch) -> None:
        # Memory exhaustion, if the database does not answer.
        if sum(len(due.counts) for due in self._due) + len(batch.counts) > self._max_pending:
            emit(
                _log,
                TOKEN_COUNTS_DROPPED,
                tokens=sum(batch.counts.values()),
                hour=f"{batch.hour:%Y-%m-%dT%H:%MZ}",
            )
            return
        self._due.append(batch)

    async def _write(self, at_most: int | None) -> None:
        async with self._flushing:
            for part in in_parts(list(islice(self._each_due(), at_most))):
                records = [record for _, record in part]
                await self._store.write(partial(token_counts.add_counts, counts=records))
                for batch, record in part:
                    batch.counts.pop(record.worker_id, None)
            while self._due and not self._due[0].counts:
                self._due.popleft()

    def _each_due(self) -> Iterator[tuple[_Batch, TokenCountRecord]]:
        for batch in self._due:
            for worker_id, tokens in batch.counts.items():
                yield batch, TokenCountRecord(worker_id, batch.hour, tokens)
