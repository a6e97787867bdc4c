"""
Finds Workers by their current or last connection: host, address, key, version and time.

For a connected Worker its session counts, not its stored activity. The activity of others is only in the database, and one scan
finds everything that is searched for.
"""

import asyncio
from collections.abc import Callable, Collection, Sequence
from functools import cache

from lyftdata.core.query_values import TextPattern, positions_of
from lyftdata.core.records import WorkerRecord
from lyftdata.server.admission.directory import Directory
from lyftdata.server.sessions.batched import in_parts
from lyftdata.server.sessions.registry import Sessions
from lyftdata.server.sessions.session import Session, key_of
from lyftdata.store import Store
from lyftdata.store.address_positions import positions_in
from lyftdata.store.tables import trace_search
from lyftdata.store.tables.trace_search import (
    AddressIsIn,
    AnyTextFits,
    HostFits,
    KeyIsOneOf,
    LastSeen,
    TraceCondition,
    TraceTerm,
    VersionFits,
)


class LastConnections:
    """
    The current or last connections of Workers.

    Args:
        directory: Holds the keys.
        sessions: Which Workers are connected, to any Server.
        store: Holds the activity of Workers.
    """

    def __init__(self, *, directory: Directory, sessions: Sessions, store: Store) -> None:
        self._directory = directory
        self._sessions = sessions
        self._store = store

    async def find_ids(self, terms: Sequence[TraceTerm], among: Sequence[WorkerRecord]) -> Collection[str]:
        """
        Return the IDs of the Workers that match every term, each once; they may include some that are not in `among`.

        Activity that is not yet written (`ActivityLog.flush`) does not count.
        """
        named = [worker.id for worker in among] if len(among) <= trace_search.MAX_NAMED else None
        stored = await self._store.read(lambda conn: trace_search.find_ids(conn, terms, among=named))

        # Once for all parts: there may be a key for each Worker.
        ids_of = cache(self._public_ids)

        def fitting(sessions: list[Session]) -> list[Session]:
            for term in terms:
                positions = {position for each in term for position in _positions(each, sessions, ids_of)}
                sessions = [sessions[position] for position in sorted(positions)]
            return sessions

        return await self._replaced(stored, fitting, among)

    async def find_by_key(
        self, stored: set[str], public_ids: Collection[str], among: Sequence[WorkerRecord]
    ) -> Collection[str]:
        """Return the stored IDs of Workers that are not connected, and the IDs of those connected with one of these API keys."""
        return await self._replaced(
            stored, lambda sessions: [each for each in sessions if _key_id(each) in public_ids], among
        )

    async def _replaced(
        self,
        stored: Collection[str],
        fitting: Callable[[list[Session]], list[Session]],
        among: Sequence[WorkerRecord],
    ) -> Collection[str]:
        """Return the stored IDs of Workers that are not connected, and the IDs of those whose session matches."""
        online = self._sessions.online_ids()
        if not online:
            return stored
        found = set(stored).difference(online)
        for part in in_parts(among):
            sessions = [session for worker in part if (session := self._sessions.find(worker.id)) is not None]
            found.update([session.worker_id for session in fitting(sessions)])
            await asyncio.sleep(0)
        return found

    def _public_ids(self, names: frozenset[str]) -> set[str]:
        """Return the public IDs of every generation of the API keys with these names."""
        return {key.public_id for key in self._directory.api_keys() if key.name in names} if names else set()


def _positions(
    wanted: TraceCondition,
    sessions: Sequence[Session],
    ids_of: Callable[[frozenset[str]], set[str]],
) -> Collection[int]:
    """Return the positions of the sessions that match."""
    match wanted:
        case HostFits(pattern=pattern):
            return _positions_by_host(pattern, sessions)
        case AnyTextFits(pattern=pattern, keys=names):
            return {
                *_positions_by_host(pattern, sessions),
                *positions_of(pattern, [session.boot.address for session in sessions]),
                *_positions_by_key(ids_of(names), sessions),
            }
        case KeyIsOneOf(names=names):
            return _positions_by_key(ids_of(names), sessions)
        case AddressIsIn(network=network):
            return positions_in([session.boot.address for session in sessions], network)
        case VersionFits(wanted=versions):
            # A fleet has few different ones.
            matches = cache(versions.matches)
            return [
                position
                for position, session in enumerate(sessions)
                if matches(session.boot.host.get("agent_version", ""))
            ]
        case LastSeen(since=since):
            # A connected Worker is seen now.
            return range(len(sessions)) if since is not None else ()


def _positions_by_key(public_ids: Collection[str], sessions: Sequence[Session]) -> list[int]:
    if not public_ids:
        return []
    return [position for position, session in enumerate(sessions) if _key_id(session) in public_ids]


def _positions_by_host(pattern: TextPattern, sessions: Sequence[Session]) -> list[int]:
    # A host name that was not reported matches nothing, not even `host:*`.
    names = [session.boot.host.get("hostname", "") for session in sessions]
    return [position for position in positions_of(pattern, names) if names[position]]


def _key_id(session: Session) -> str | None:
    """Return the public ID of the API key that a session uses, or None for an enrolled Worker."""
    kind, value = key_of(session)
    return value if kind == "key" else None
