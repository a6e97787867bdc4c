"""
Counts the agents that the fleet policy refuses, so that one that is recreated again and again can be identified.

A Worker whose program restarts in a loop, or that enrolls again at each start, is refused only once or twice under each identity:
counting by Worker would not show it. So attempts are counted by the family of the Workers' names, with the number of boots and entries.
Collected in memory, written within a second.
"""

from datetime import datetime
from functools import partial

from lyftdata.core.fleet_policy import RefusedAgentRecord
from lyftdata.core.records import WorkerRecord
from lyftdata.core.registration_groups import name_family
from lyftdata.server.sessions.batched import in_parts
from lyftdata.server.sessions.session import Boot
from lyftdata.store import Store
from lyftdata.store.tables import refused_agents
from lyftdata.store.tables.refused_agents import MAX_FAMILIES, RefusedStarts

_MAX_STARTS = 200
_MAX_TEXT = 128


class RefusedAgents:
    """Refusals that are not yet written."""

    def __init__(self, *, store: Store) -> None:
        self._store = store
        self._pending: dict[str, RefusedStarts] = {}

    def note(self, worker: WorkerRecord, boot: Boot, *, at: datetime) -> None:
        """Record that an agent was refused for its version; beyond a limit it only counts as a refusal."""
        family = name_family(worker.name)[:_MAX_TEXT]
        before = self._pending.get(family)
        if before is None and len(self._pending) >= MAX_FAMILIES:
            return
        start = (worker.id, boot.boot_id)
        seen = () if before is None else tuple(before.seen)
        if len(seen) < _MAX_STARTS and (not seen or seen[-1] != start):
            seen = (*seen, start)
        latest = RefusedAgentRecord(
            family=family,
            worker_id=seen[-1][0],
            boot_id=seen[-1][1],
            version=boot.host.get("agent_version", "")[:_MAX_TEXT],
            hostname=boot.host.get("hostname", "")[:_MAX_TEXT],
            address=boot.address,
            attempts=1 if before is None else before.latest.attempts + 1,
            starts=0,
            entries=0,
            first_at=at if before is None else before.latest.first_at,
            last_at=at,
        )
        self._pending[family] = RefusedStarts(latest=latest, seen=seen)

    async def flush(self) -> None:
        """Write what is pending; what could not be written is lost: it is only a count, and further attempts are counted again."""
        pending, self._pending = self._pending, {}
        for part in in_parts(list(pending.values())):
            await self._store.write(partial(refused_agents.add_starts, refused=part))

    async def list_since(self, since: datetime) -> list[RefusedAgentRecord]:
        """Return the agents refused since a time, those with the most starts first."""
        await self.flush()
        return await self._store.read(lambda conn: refused_agents.list_since(conn, since))
