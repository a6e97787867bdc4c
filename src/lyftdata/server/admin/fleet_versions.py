"""
Read model of the fleet's agent versions: how many Workers have each, and which Workers a policy affects.

Computed in parts, by version: with a hundred thousand entries, Workers' requests are answered in between.
"""

import asyncio
import heapq
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from datetime import datetime, timedelta
from typing import Any

import msgspec

from lyftdata.core.encoding import base64url, decode_base64url
from lyftdata.core.errors import InvalidInputError
from lyftdata.core.fleet_policy import FleetPolicy, RefusedAgentRecord, VersionStanding
from lyftdata.core.records import WorkerRecord
from lyftdata.core.standing import entry_problem
from lyftdata.core.structs import prepare_structs
from lyftdata.core.versions import parse_version, version_order
from lyftdata.server.admission.directory import Directory
from lyftdata.server.admission.refused_agents import RefusedAgents
from lyftdata.server.clock import Clock
from lyftdata.server.sessions.activity import ActivityLog
from lyftdata.server.sessions.batched import in_parts
from lyftdata.server.sessions.registry import Sessions
from lyftdata.store import Store
from lyftdata.store.tables import trace_search

REFUSED_WITHIN = timedelta(hours=1)


class AgentVersion(msgspec.Struct, frozen=True, kw_only=True):
    """The version that a Worker's agent last reported, and its standing under a policy."""

    worker: WorkerRecord
    version: str
    is_online: bool
    standing: VersionStanding
    refused_from: datetime | None


class VersionShare(msgspec.Struct, frozen=True, kw_only=True):
    """How many Workers have an agent of one version; "" for those that report none."""

    version: str
    workers: int
    online: int
    standing: VersionStanding


class ListPosition(msgspec.Struct, frozen=True, array_like=True):
    """A position in the list of affected Workers, which a Worker that is no longer in it does not change."""

    version: str
    name: str
    worker_id: str

    @property
    def key(self) -> tuple[Any, str, str, str]:
        """Return what the list is sorted by."""
        return version_order(self.version), self.version, self.name, self.worker_id

    def encode(self) -> str:
        """Return the position as text that is safe in a URL."""
        return base64url(msgspec.json.encode(self))

    @staticmethod
    def decode(unverified: str) -> "ListPosition":
        """Return the position; raises InvalidInputError."""
        try:
            return msgspec.json.decode(decode_base64url(unverified), type=ListPosition)
        except (ValueError, msgspec.MsgspecError) as error:
            raise InvalidInputError("after", "must be `next` of the previous page") from error


prepare_structs(ListPosition)


class PolicyEffect(msgspec.Struct, frozen=True, kw_only=True):
    """
    The effect of a policy on the existing Workers.

    Args:
        affected: A page of those that it warns or refuses, or will refuse: the lowest versions first.
        next_after: The position of the last of this page; None if no more follow.
        total: How many it warns or refuses, or will refuse.
        refused_later: How many of them it will refuse.
        counts: The number of Workers by standing.
    """

    affected: list[AgentVersion]
    next_after: "ListPosition | None"
    total: int
    refused_later: int
    counts: Mapping[VersionStanding, int]


class _Agents(msgspec.Struct):
    """The Workers whose agents reported one version, each with whether it is connected, and the standing of that version."""

    standing: VersionStanding
    refused_from: datetime | None
    workers: list[tuple[WorkerRecord, bool]]


class FleetVersions:
    """
    Reads the last reported versions of the Workers that may connect.

    Args:
        directory: The Workers and the policy.
        sessions: Which Workers are connected; for a connected Worker, its session's version counts.
        traces: Activity that is not yet written.
        refused_agents: What the policy refused.
        store: Holds the written activity.
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

    async def effect_of(
        self, policy: FleetPolicy, *, limit: int, after: ListPosition | None = None
    ) -> PolicyEffect:
        """Return the effect of a policy, saved or not, with the first `limit` Workers that it affects, or those after a position."""
        now = self._clock()
        agents: dict[str, _Agents] = {}
        async for worker, version, is_online in self._versions():
            of_version = agents.get(version)
            if of_version is None:
                standing = policy.standing_of(version, now=now)
                of_version = agents[version] = _Agents(standing, policy.refused_from(version), [])
            of_version.workers.append((worker, is_online))
        counts: Counter[VersionStanding] = Counter()
        for one in agents.values():
            counts[one.standing] += len(one.workers)
        affected = {
            version: one
            for version, one in agents.items()
            if one.standing in {VersionStanding.WARNED, VersionStanding.REFUSED}
        }
        listed = _lowest(affected, limit + 1, after)
        goes_on = 0 < limit < len(listed)
        return PolicyEffect(
            affected=listed[:limit],
            next_after=_position_of(listed[limit - 1]) if goes_on else None,
            total=counts[VersionStanding.WARNED] + counts[VersionStanding.REFUSED],
            refused_later=sum(
                len(one.workers)
                for one in affected.values()
                if one.standing is VersionStanding.WARNED and one.refused_from is not None
            ),
            counts=counts,
        )

    async def shares(self) -> list[VersionShare]:
        """Return how many agents there are of each version, the newest first; those without one are last."""
        workers: Counter[str] = Counter()
        online: Counter[str] = Counter()
        async for _, version, is_online in self._versions():
            workers[version] += 1
            online[version] += is_online
        policy, now = self._directory.fleet_policy, self._clock()
        shares = [
            VersionShare(
                version=version,
                workers=number,
                online=online[version],
                standing=standing_of(policy, version, now=now),
            )
            for version, number in workers.items()
        ]
        return sorted(shares, key=lambda share: (version_order(share.version), share.version), reverse=True)

    async def refused(self) -> list[RefusedAgentRecord]:
        """Return the agents that the current policy refused within the last hour and that are not connected, the most starts first."""
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

    async def _versions(self) -> AsyncIterator[tuple[WorkerRecord, str, bool]]:
        """Yield the Workers that may connect, with the last reported version of each and whether it is connected."""
        await self._traces.flush()
        stored = await self._store.read(lambda conn: trace_search.values_of(conn, "version"))
        for part in in_parts(list(self._directory.workers())):
            for worker in part:
                if worker.archived_at is not None or entry_problem(worker) is not None:
                    continue
                session = self._sessions.find(worker.id)
                if session is not None:
                    yield worker, session.boot.host.get("agent_version", ""), True
                elif worker.id in self._traces.seen:
                    # A Worker that was never connected has not reported an agent.
                    yield worker, stored.get(worker.id, ""), False
            await asyncio.sleep(0)


def standing_of(policy: FleetPolicy | None, version: str, *, now: datetime) -> VersionStanding:
    """Return the standing of a version under a policy, or without one."""
    if policy is not None:
        return policy.standing_of(version, now=now)
    return VersionStanding.UNKNOWN if parse_version(version) is None else VersionStanding.CURRENT


def _position_of(one: AgentVersion) -> ListPosition:
    return ListPosition(one.version, one.worker.name, one.worker.id)


def _lowest(affected: Mapping[str, _Agents], limit: int, after: ListPosition | None) -> list[AgentVersion]:
    """Return the first of these Workers after a position: the lowest versions first, then by name."""
    first: list[AgentVersion] = []
    for version in sorted(affected, key=lambda version: (version_order(version), version)):
        if len(first) >= limit:
            break
        one = affected[version]
        following = (
            (worker, is_online)
            for worker, is_online in one.workers
            if after is None or ListPosition(version, worker.name, worker.id).key > after.key
        )
        workers = heapq.nsmallest(limit - len(first), following, key=lambda pair: (pair[0].name, pair[0].id))
        first += [
            AgentVersion(
                worker=worker,
                version=version,
                is_online=is_online,
                standing=one.standing,
                refused_from=one.refused_from,
            )
            for worker, is_online in workers
        ]
    return first
