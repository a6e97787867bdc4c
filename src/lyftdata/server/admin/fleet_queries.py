"""Read model of the whole fleet: which Workers are expected, which were lost, and what the lost ones have in common."""

import asyncio
import itertools
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta

import msgspec

from lyftdata.core.fleet_verdict import (
    EXPECTED_FOR,
    LOST_FOR,
    Facts,
    Presence,
    SessionEndFacts,
    SharedTrait,
    Verdict,
    find_common,
    is_expected,
    is_refusal,
    judge,
    presence_of,
)
from lyftdata.core.records import SessionEnd, WorkerRecord, WorkerSessionRecord
from lyftdata.server.admin.fleet_text import describe_detail, describe_title
from lyftdata.server.admin.schemas.fleet import CommonTrait, Fleet
from lyftdata.server.admission.directory import Directory
from lyftdata.server.clock import Clock
from lyftdata.server.sessions.activity import ActivityLog
from lyftdata.server.sessions.history import SessionLog
from lyftdata.server.sessions.registry import Sessions
from lyftdata.server.sessions.session import find_used_key
from lyftdata.store import Store
from lyftdata.store.tables import activity

# It does not matter if a Worker leaves the seven days a minute late, and reading it costs as much as there are Workers.
_SEEN_READ_EVERY = timedelta(minutes=1)
_JUDGED_AT_ONCE = 2_000
_MAX_COMPARED = 5_000


class FleetState(msgspec.Struct, frozen=True, kw_only=True):
    """The expected Workers by presence, and the verdict about them."""

    at: datetime
    verdict: Verdict
    online: frozenset[str]
    lost: Mapping[str, datetime]
    returning: frozenset[str]
    away: frozenset[str]
    ends: Mapping[str, WorkerSessionRecord]
    """How the last session of each Worker ended, for sessions that ended within the last hour."""

    def ids(self, presence: Presence) -> frozenset[str]:
        """Return the IDs of the expected Workers with this presence."""
        missing = self.returning | self.away | self.lost.keys()
        match presence:
            case Presence.EXPECTED:
                return self.online | missing
            case Presence.MISSING:
                return missing
            case Presence.LOST:
                return frozenset(self.lost)
            case Presence.RETURNING:
                return self.returning
            case Presence.AWAY:
                return self.away


class FleetQueries:
    """Finds expected Workers that are not connected."""

    def __init__(
        self,
        *,
        started_at: datetime,
        directory: Directory,
        sessions: Sessions,
        traces: ActivityLog,
        session_log: SessionLog,
        store: Store,
        clock: Clock,
    ) -> None:
        self._started_at = started_at
        self._directory = directory
        self._sessions = sessions
        self._traces = traces
        self._session_log = session_log
        self._store = store
        self._clock = clock
        self._seen: frozenset[str] = frozenset()
        self._seen_read_at: datetime | None = None

    async def show(self) -> Fleet:
        """Return the verdict, with its sentence."""
        return fleet_view(await self.state())

    async def state(self) -> FleetState:
        """Return the presence of every expected Worker."""
        now = self._clock()
        seen = await self._seen_recently(now)
        ends = await self._session_log.recent_ends(now - LOST_FOR)
        by_presence: dict[Presence, list[str]] = {presence: [] for presence in Presence}
        online: list[str] = []
        records = list(self._directory.workers())
        for start in range(0, len(records), _JUDGED_AT_ONCE):
            for record in records[start : start + _JUDGED_AT_ONCE]:
                is_online = self._sessions.is_online(record.id)
                end = ends.get(record.id)
                recently = is_online or end is not None or record.id in seen
                if is_expected(record, seen_recently=recently):
                    place = online if is_online else by_presence[self._presence_of(end, now)]
                    place.append(record.id)
            # Workers' requests are answered in between.
            await asyncio.sleep(0)
        lost = {worker_id: _end_of(ends[worker_id]) for worker_id in by_presence[Presence.LOST]}
        verdict = judge(
            online=len(online),
            returning=len(by_presence[Presence.RETURNING]),
            away=len(by_presence[Presence.AWAY]),
            lost_at=list(lost.values()),
            refused=sum(is_refusal(ends[worker_id].end) for worker_id in lost),
            common=await self._find_common([ends[worker_id] for worker_id in lost], online),
        )
        return FleetState(
            at=now,
            verdict=verdict,
            online=frozenset(online),
            lost=lost,
            returning=frozenset(by_presence[Presence.RETURNING]),
            away=frozenset(by_presence[Presence.AWAY]),
            ends=ends,
        )

    def _presence_of(self, session: WorkerSessionRecord | None, now: datetime) -> Presence:
        last = None if session is None else SessionEndFacts(_end_of(session), session.end)
        return presence_of(last, now=now, server_started_at=self._started_at)

    async def _seen_recently(self, now: datetime) -> frozenset[str]:
        if self._seen_read_at is None or not timedelta() <= now - self._seen_read_at < _SEEN_READ_EVERY:
            await self._traces.flush()
            self._seen = await self._store.read(
                lambda conn: activity.seen_ids(conn, since=now - EXPECTED_FOR)
            )
            self._seen_read_at = now
        return self._seen

    async def _find_common(
        self, lost: Sequence[WorkerSessionRecord], online: Sequence[str]
    ) -> list[SharedTrait]:
        if not lost or not online:
            return []
        ids = [session.worker_id for session in lost]
        keys = await self._store.read(lambda conn: activity.last_key_names(conn, ids))
        facts = [self._facts_of_lost(session, keys.get(session.worker_id)) for session in lost]
        # A sample of the others is enough to compare with: evenly spaced, since the order by ID may follow zones.
        step = max(1, len(online) // _MAX_COMPARED)
        rest = list(self._facts_of_connected(itertools.islice(online, 0, None, step)))
        return await asyncio.to_thread(find_common, facts, rest)

    def _facts_of_lost(self, session: WorkerSessionRecord, api_key: str | None) -> Facts:
        record = self._directory.find_worker(session.worker_id)
        return Facts(
            labels={} if record is None else record.labels,
            address=session.address,
            key=self._key_of(record, api_key),
            host=session.host.get("hostname", ""),
            version=session.host.get("agent_version", ""),
            end="" if session.end == SessionEnd.LOST else session.end,
        )

    def _facts_of_connected(self, worker_ids: Iterator[str]) -> Iterator[Facts]:
        for worker_id in worker_ids:
            record, session = self._directory.find_worker(worker_id), self._sessions.find(worker_id)
            if record is None or session is None:
                continue
            used = find_used_key(session, self._directory.find_api_key)
            yield Facts(
                labels=record.labels,
                address=session.boot.address,
                key=self._key_of(record, None if used is None else used.name),
                host=session.boot.host.get("hostname", ""),
                version=session.boot.host.get("agent_version", ""),
            )

    def _key_of(self, record: WorkerRecord | None, api_key: str | None) -> str:
        if record is not None and record.enrolled_with:
            return f"enrollment:{record.enrolled_with}"
        return api_key or ""


def fleet_view(state: FleetState) -> Fleet:
    """Build the view of a fleet's state, with its sentence."""
    verdict = state.verdict
    return Fleet(
        level=verdict.level,
        title=describe_title(verdict, now=state.at),
        detail=describe_detail(verdict, now=state.at),
        at=state.at,
        expected=verdict.expected,
        online=verdict.online,
        lost=verdict.lost,
        returning=verdict.returning,
        away=verdict.away,
        since=verdict.since,
        common=[
            CommonTrait(kind=shared.trait.kind, value=shared.trait.value, count=shared.count)
            for shared in verdict.common
        ],
    )


def _end_of(session: WorkerSessionRecord) -> datetime:
    return session.ended_at or session.started_at
