"""
Records once an hour how many agents there are of each version, and returns how that has changed.

    await history.look()                # every minute: writes the hour, if no Server has yet
    await history.of(VersionPeriod.WEEK)

An hour has at most thirteen rows: the most common versions, and all others together. Hours are kept for eight days, and one of
each day for 400 days: 8,000 rows in total, no matter how many Workers and versions there are.
"""

import heapq
from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import partial
from itertools import groupby

from lyftdata.core.records import VersionCountRecord
from lyftdata.server.admin.fleet_versions import FleetVersions, VersionShare
from lyftdata.server.admin.schemas.fleet_policy import (
    VersionCount,
    VersionHistory,
    VersionPeriod,
    VersionStep,
)
from lyftdata.server.clock import Clock
from lyftdata.store import Store, WriteTx
from lyftdata.store.tables import version_counts

MAX_NAMED = 12
HOURS_KEPT_FOR = timedelta(days=8)
DAYS_KEPT_FOR = timedelta(days=400)
_HOUR, _DAY = timedelta(hours=1), timedelta(days=1)
_STEPS = {
    VersionPeriod.WEEK: (timedelta(days=7), _HOUR),
    VersionPeriod.QUARTER: (timedelta(days=91), _DAY),
    VersionPeriod.YEAR: (timedelta(days=365), _DAY),
}


class VersionHistories:
    """
    The versions of the fleet's agents over time.

    Args:
        store: Stores the counts.
        versions: Counts the current agents.
        clock: Returns aware UTC time.
    """

    def __init__(self, *, store: Store, versions: FleetVersions, clock: Clock) -> None:
        self._store = store
        self._versions = versions
        self._clock = clock
        self._written: datetime | None = None

    async def look(self) -> bool:
        """Write the current hour, unless it is already written; return whether this Server did. Call it about once a minute."""
        hour = self._clock().replace(minute=0, second=0, microsecond=0)
        # Counting a fleet in parts takes a while: another Server may have done it.
        if hour == self._written or await self._store.read(partial(version_counts.has_counts, at=hour)):
            self._written = hour
            return False
        counts = most_common(await self._versions.shares(), at=hour)
        if not counts:
            return False
        is_ours = await self._store.write(lambda tx: _write(tx, hour, counts))
        self._written = hour
        return is_ours

    async def of(self, period: VersionPeriod) -> VersionHistory:
        """Return how many Workers had which version in each hour of a week, or on each day of a quarter or a year."""
        length, step = _STEPS[period]
        now = self._clock()
        since = now - length
        read_since = since - step
        counts = await self._store.read(
            partial(version_counts.list_counts, since=read_since, by_day=step == _DAY)
        )
        if step == _DAY:
            counts = [*_by_day(counts), *await self._latest(now, after=counts)]
        steps = [_step(at, list(group)) for at, group in groupby(counts, key=lambda count: count.at)]
        return VersionHistory(
            period=period, since=since, until=now, step_s=int(step.total_seconds()), points=steps
        )

    async def _latest(
        self, now: datetime, *, after: Sequence[VersionCountRecord]
    ) -> list[VersionCountRecord]:
        """Return the last hour that was written: otherwise today would only have its first one."""
        hours = await self._store.read(
            partial(version_counts.list_counts, since=now - 2 * _HOUR, by_day=False)
        )
        last = hours[-1].at if hours else None
        is_new = last is not None and (not after or last > after[-1].at)
        return [count for count in hours if count.at == last] if is_new else []


def most_common(shares: Sequence[VersionShare], *, at: datetime) -> list[VersionCountRecord]:
    """Return the most common versions, those with the most Workers first, and all others together as one without a version."""
    named = heapq.nsmallest(MAX_NAMED, shares, key=lambda share: (-share.workers, share.version))
    counts = [VersionCountRecord(at, share.version, share.workers) for share in named]
    rest = sum(share.workers for share in shares) - sum(count.workers for count in counts)
    return [*counts, VersionCountRecord(at, None, rest)] if rest else counts


def _write(tx: WriteTx, hour: datetime, counts: Sequence[VersionCountRecord]) -> bool:
    is_ours = version_counts.add_counts(tx, hour, counts)
    if is_ours:
        version_counts.prune(tx, hours_since=hour - HOURS_KEPT_FOR, days_since=hour - DAYS_KEPT_FOR)
    return is_ours


def _by_day(counts: Sequence[VersionCountRecord]) -> list[VersionCountRecord]:
    """Return the counts at the beginning of their days, so that steps have the same length whenever the Server was started."""
    return [VersionCountRecord(count.at.replace(hour=0), count.version, count.workers) for count in counts]


def _step(at: datetime, counts: Sequence[VersionCountRecord]) -> VersionStep:
    return VersionStep(
        at=at,
        versions=[
            VersionCount(version=count.version, workers=count.workers)
            for count in counts
            if count.version is not None
        ],
        others=sum(count.workers for count in counts if count.version is None),
    )
