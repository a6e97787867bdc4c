"""Read model of the versions of the fleet's agents: how many there are of each, and whom a policy is about."""

from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta

import msgspec

from lyftdata.core.fleet_policy import FleetPolicy, RefusedAgentRecord, VersionStanding
from lyftdata.core.records import WorkerRecord
from lyftdata.core.standing import entry_problem
from lyftdata.core.versions import Version, parse_version
from lyftdata.server.admission.directory import Directory
from lyftdata.server.admission.refused_agents import RefusedAgents
from lyftdata.server.clock import Clock
from lyftdata.server.sessions.activity import ActivityLog
from lyftdata.server.sessions.registry import Sessions
from lyftdata.store import Store
from lyftdata.store.tables import trace_search

REFUSED_WITHIN = timedelta(hours=1)


class AgentVersion(msgspec.Struct, frozen=True, kw_only=True):
    """The version that a Worker's agent reported last, and how it stands to a policy."""

    worker: WorkerRecord
    version: str
    is_online: bool
    standing: VersionStanding
    refused_from: datetime | None


class VersionShare(msgspec.Struct, frozen=True, kw_only=True):
    """How many Workers' agents are of a version; "" for those that report none."""

    version: str
    workers: int
    online: int
    standing: VersionStanding


class PolicyEffect(msgspec.Struct, frozen=True, kw_only=True):
    """
    What a policy does to the Workers that there are.

    Args:
        affected: Those that it warns or refuses, or will refuse: the lowest versions first.
        counts: How many stand how, of all.
    """

    affected: list[AgentVersion]
    counts: Mapping[VersionStanding, int]


class FleetVersions:
    """
    Reads versions of the Workers that may connect: a version counts as it was reported last.

    Args:
        directory: The Workers and the policy.
        sessions: Who is connected; of a connected Worker, its session counts.
        traces: What Workers left behind and is not written yet.
        refused_agents: What the policy refused.
        store: Holds what was written.
        clock: Returns aware UTC time.
    """

    def __init__(
        self,
        *,
        directory: Directory,
        sessions: Sessions,
        traces: ActivityLog,
        refused_agents: RefusedAgents,
        store: Store,
        clock: Clock,
    ) -> None:
        self._directory = directory
        self._sessions = sessions
        self._traces = traces
        self._refused_agents = refused_agents
        self._store = store
        self._clock = clock

    async def effect_of(self, policy: FleetPolicy) -> PolicyEffect:
        """Return what a policy does, whether it is saved or not."""
        now = self._clock()
        every = [
            _stand(worker, version, policy, now, is_online)
            for worker, version, is_online in await self._versions()
        ]
        affected = [one for one in every if one.standing in {VersionStanding.WARNED, VersionStanding.REFUSED}]
        return PolicyEffect(
            affected=sorted(affected, key=_lowest_first), counts=Counter(one.standing for one in every)
        )

    async def shares(self) -> list[VersionShare]:
        """Return how many agents there are of each version, the newest first; those without one are last."""
        workers: Counter[str] = Counter()
        online: Counter[str] = Counter()
        for _, version, is_online in await self._versions():
            workers[version] += 1
            online[version] += is_online
        policy, now = self._directory.fleet_policy, self._clock()
        shares = [
            VersionShare(
                version=version,
                workers=number,
                online=online[version],
                standing=_standing(policy, version, now),
            )
            for version, number in workers.items()
        ]
        return sorted(shares, key=lambda share: (_order(share.version), share.version), reverse=True)

    async def refused(self) -> list[RefusedAgentRecord]:
        """Return what the present policy refused within the last hour and is not connected, the most starts first."""
        policy, now = self._directory.fleet_policy, self._clock()
        if policy is None:
            return []
        found = await self._refused_agents.list_since(now - REFUSED_WITHIN)
        return [
            record
            for record in found
            if policy.standing_of(record.version, now=now) is VersionStanding.REFUSED
            and not self._sessions.is_online(record.worker_id)
        ]

    async def _versions(self) -> list[tuple[WorkerRecord, str, bool]]:
        await self._traces.flush()
        stored = await self._store.read(lambda conn: trace_search.values_of(conn, "version"))
        return list(self._merged(stored))

    def _merged(self, stored: Mapping[str, str]) -> Iterator[tuple[WorkerRecord, str, bool]]:
        for worker in self._directory.workers():
            if worker.archived_at is not None or entry_problem(worker) is not None:
                continue
            session = self._sessions.find(worker.id)
            if session is not None:
                yield worker, session.boot.host.get("agent_version", ""), True
            elif worker.id in self._traces.seen:
                # One that was never connected has no agent to speak of.
                yield worker, stored.get(worker.id, ""), False


def _stand(
    worker: WorkerRecord,
    version: str,
    policy: FleetPolicy,
    now: datetime,
    is_online: bool,  # noqa: FBT001
) -> AgentVersion:
    return AgentVersion(
        worker=worker,
        version=version,
        is_online=is_online,
        standing=policy.standing_of(version, now=now),
        refused_from=policy.refused_from(version),
    )


def _standing(policy: FleetPolicy | None, version: str, now: datetime) -> VersionStanding:
    if policy is not None:
        return policy.standing_of(version, now=now)
    return VersionStanding.UNKNOWN if parse_version(version) is None else VersionStanding.CURRENT


def _lowest_first(one: AgentVersion) -> tuple[Version, str, str]:
    return _order(one.version), one.worker.name, one.worker.id


def _order(version: str) -> Version:
    return parse_version(version) or Version(())
