"""
Finds the Workers that a search wants, among all entries in memory.

What only the database knows (the last host, address, key, version and time of a Worker that is not connected) is one scan a
condition. Of a Worker that is connected, its session counts and not what it left behind. The result is computed in parts: of
a hundred thousand entries, Workers' requests are answered in between.
"""

import asyncio
from collections.abc import Callable, Collection, Iterable
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Network, IPv6Network
from typing import Literal

from lyftdata.core.fleet_verdict import Presence
from lyftdata.core.networks import Network, is_in
from lyftdata.core.query_values import Age, Generation, KeyPattern, TextPattern, VersionRange, fold
from lyftdata.core.records import (
    ApiKeyRecord,
    KeyRotation,
    State,
    Status,
    Strategy,
    WorkerRecord,
    key_rotation_of,
)
from lyftdata.core.scopes import Scope
from lyftdata.core.worker_query import Condition, Field, LabelMatch, Term, WorkerQuery
from lyftdata.server.admin.fleet_queries import FleetQueries
from lyftdata.server.admission.directory import Directory
from lyftdata.server.admission.token_origins import TokenOrigins
from lyftdata.server.clock import Clock
from lyftdata.server.sessions.activity import ActivityLog
from lyftdata.server.sessions.batched import in_parts
from lyftdata.server.sessions.registry import Sessions
from lyftdata.server.sessions.session import Session, find_used_key
from lyftdata.store import Store
from lyftdata.store.tables import activity, trace_search

_SLOW = (Field.TEXT, Field.STATUS, Field.NAME, Field.ID)
_EVER = datetime(2000, 1, 1, tzinfo=UTC)

Predicate = Callable[[WorkerRecord], bool]


class WorkerSearch:
    """
    Searches Workers in the language of `core.worker_query`.

    Args:
        directory: Holds the entries and the keys.
        sessions: Who is connected, to whichever Server.
        traces: What Workers left behind and is not written yet.
        origins: By which keys Workers got tokens.
        fleet: Who is expected to be connected.
        store: Holds what was written.
        startup_keys: Returns the fingerprints of the enrollment keys that are settings, named `startup`.
        clock: Returns aware UTC time.
    """

    def __init__(
        self,
        *,
        directory: Directory,
        sessions: Sessions,
        traces: ActivityLog,
        origins: TokenOrigins,
        fleet: FleetQueries,
        store: Store,
        startup_keys: Callable[[], Iterable[str]],
        clock: Clock,
    ) -> None:
        self._directory = directory
        self._sessions = sessions
        self._traces = traces
        self._origins = origins
        self._fleet = fleet
        self._store = store
        self._startup_keys = startup_keys
        self._clock = clock

    async def find(self, query: WorkerQuery, *, scope: Scope) -> list[WorkerRecord]:
        """Return the Workers within a scope that fit, in no order; archived ones only if the search names that state."""
        if query.terms:
            # What Workers left behind in this second counts.
            await self._traces.flush()
        # What takes longest is asked of what the others leave.
        terms = sorted(query.terms, key=lambda term: term.field in _SLOW)
        predicates = [await self._predicate(term) for term in terms]
        wants_archived = query.wants_archived
        found: list[WorkerRecord] = []
        for part in in_parts(list(self._directory.workers())):
            candidates = [worker for worker in part if (worker.archived_at is not None) is wants_archived]
            if scope.is_limited:
                candidates = list(filter(scope.covers_worker, candidates))
            for fits in predicates:
                candidates = list(filter(fits, candidates))
            found += candidates
            await asyncio.sleep(0)
        return found

    def status_of(self, worker_id: str) -> Status:
        """Return whether a Worker is connected, was once, or never."""
        if self._sessions.is_online(worker_id):
            return Status.ONLINE
        return Status.OFFLINE if worker_id in self._traces.seen else Status.NEVER_CONNECTED

    def state_of(self, worker: WorkerRecord) -> State:
        """Return how an entry stands, in one word."""
        if worker.archived_at is not None:
            return State.ARCHIVED
        if worker.superseded_by is not None:
            return State.SUPERSEDED
        if not worker.enabled:
            return State.DISABLED
        if worker.approval is not None:
            return State(worker.approval.value)
        # Not by way of a `Status`: this is asked for each entry of a large fleet.
        if self._sessions.is_online(worker.id):
            return State.ONLINE
        return State.OFFLINE if worker.id in self._traces.seen else State.NEVER_CONNECTED

    async def _predicate(self, term: Term) -> Predicate:
        fitting = [await self._condition(term.field, condition) for condition in term.conditions]
        if len(fitting) == 1 and not term.is_negated:
            return fitting[0]
        if term.is_negated:
            return lambda worker: not any(fits(worker) for fits in fitting)
        return lambda worker: any(fits(worker) for fits in fitting)

    async def _condition(self, field: Field, condition: Condition) -> Predicate:
        match condition:
            case TextPattern():
                return await self._text(field, condition)
            case Age():
                return await self._age(field, condition)
            case LabelMatch():
                return _label(condition)
            case Presence():
                return _one_of((await self._fleet.state()).ids(condition))
            case KeyPattern() | VersionRange() | IPv4Network() | IPv6Network():
                return _one_of(await self._ids(condition))
            case _:
                return self._choice(condition)

    def _choice(self, wanted: State | Strategy | KeyRotation | Literal["never"]) -> Predicate:
        match wanted:
            case State():
                return lambda worker: self.state_of(worker) is wanted
            case Strategy():
                return lambda worker: worker.strategy is wanted
            case KeyRotation():
                return lambda worker: key_rotation_of(worker) is wanted
            case _:
                return lambda worker: self.status_of(worker.id) is Status.NEVER_CONNECTED

    async def _ids(self, wanted: KeyPattern | VersionRange | Network) -> set[str]:
        match wanted:
            case KeyPattern():
                return await self._ids_by_key(wanted)
            case VersionRange():
                return await self._ids_by_version(wanted)
            case _:
                return await self._ids_by_address(wanted)

    async def _text(self, field: Field, pattern: TextPattern) -> Predicate:
        match field:
            case Field.NAME:
                return lambda worker: pattern.matches(fold(worker.name))
            case Field.ID:
                return lambda worker: pattern.matches(fold(worker.id))
            case Field.ENROLLED:
                return self._enrolled(pattern)
            case Field.HOST:
                stored = await self._store.read(lambda conn: trace_search.ids_by_host(conn, pattern))
                return _one_of(
                    await self._ids_by_trace(stored, lambda session: pattern.matches(_hostname(session)))
                )
            case _:
                stored = await self._store.read(lambda conn: trace_search.ids_by_text(conn, pattern))
                left_behind = await self._ids_by_trace(
                    stored, lambda session: any(map(pattern.matches, self._texts(session)))
                )
                return _anywhere(pattern, left_behind, await self._labels(pattern))

    async def _labels(self, pattern: TextPattern) -> set[tuple[str, str]]:
        """Return the labels of the fleet that fit: of a large one most are the same few, and each is compared once."""
        labels: set[tuple[str, str]] = set()
        for part in in_parts(list(self._directory.workers())):
            labels.update(*(worker.labels.items() for worker in part))
            await asyncio.sleep(0)
        return {
            (key, value) for key, value in labels if pattern.matches(fold(f"{key}={value}" if value else key))
        }

    def _texts(self, session: Session) -> tuple[str, str, str]:
        key = find_used_key(session, self._directory.find_api_key)
        return _hostname(session), fold(session.boot.address), "" if key is None else fold(key.name)

    def _enrolled(self, pattern: TextPattern) -> Predicate:
        named = {
            key.fingerprint for key in self._directory.enrollment_keys() if pattern.matches(fold(key.name))
        }
        if pattern.matches("startup"):
            named |= set(self._startup_keys())
        return lambda worker: (
            worker.enrolled_with is not None
            and (worker.enrolled_with in named or pattern.matches(fold(worker.enrolled_with)))
        )

    async def _age(self, field: Field, age: Age) -> Predicate:
        at = self._clock() - age.span
        is_recent = age.comparison == "<"
        if field is Field.CREATED:
            return lambda worker: worker.created_at > at if is_recent else worker.created_at < at
        if field is Field.INACTIVE:
            return await self._inactive(age.span)
        since, before = (at, None) if is_recent else (None, at)
        stored = await self._store.read(lambda conn: trace_search.ids_seen(conn, since=since, before=before))
        return _one_of(await self._ids_by_trace(stored, lambda _: is_recent))

    async def _inactive(self, span: timedelta) -> Predicate:
        since = self._clock() - span
        active = await self._store.read(lambda conn: activity.active_ids(conn, since=since))
        active |= set(self._sessions.online_ids())
        return lambda worker: worker.created_at < since and worker.id not in active

    async def _ids_by_key(self, wanted: KeyPattern) -> set[str]:
        """Return the IDs of the Workers that are connected by such a key, or were last."""
        keys = [key for key in self._directory.api_keys() if wanted.name.matches(key.name)]
        newest: dict[str, int] = {}
        for key in keys:
            newest[key.name] = max(key.generation, newest.get(key.name, 0))
        fitting = {
            key.public_id
            for key in keys
            if _is_generation(key.generation, wanted.generation, newest[key.name])
        }
        if wanted.generation is None:
            stored = await self._store.read(lambda conn: trace_search.ids_by_key(conn, set(newest)))
        else:
            stored = await self._ids_by_last_token(keys, fitting)

        def fits(session: Session) -> bool:
            key = find_used_key(session, self._directory.find_api_key)
            return key is not None and key.public_id in fitting

        return await self._ids_by_trace(stored, fits)

    async def _ids_by_last_token(self, keys: Iterable[ApiKeyRecord], fitting: Collection[str]) -> set[str]:
        """Return the IDs of the Workers whose last token by any of these keys was by one that fits; as the key's page has it."""
        uses = await self._origins.last_uses([f"key.{key.public_id}" for key in keys], since=_EVER)
        last: dict[str, tuple[datetime, bool]] = {}
        for credential, workers in uses.items():
            fits = credential.removeprefix("key.") in fitting
            for worker_id, at in workers.items():
                last[worker_id] = max((at, fits), last.get(worker_id, (at, fits)))
        return {worker_id for worker_id, (_, fits) in last.items() if fits}

    async def _ids_by_version(self, wanted: VersionRange) -> set[str]:
        stored = await self._store.read(lambda conn: trace_search.ids_by_version(conn, wanted))
        return await self._ids_by_trace(
            stored, lambda session: wanted.matches(session.boot.host.get("agent_version", ""))
        )

    async def _ids_by_address(self, network: Network) -> set[str]:
        stored = await self._store.read(lambda conn: trace_search.ids_by_address(conn, network))
        return await self._ids_by_trace(stored, lambda session: is_in(session.boot.address, network))

    async def _ids_by_trace(self, stored: set[str], fits: Callable[[Session], bool]) -> set[str]:
        """Return those of the stored IDs that are not connected, and those whose session fits."""
        online = self._sessions.online_ids()
        found = stored.difference(online)
        for part in in_parts(online):
            sessions = (self._sessions.find(worker_id) for worker_id in part)
            found.update(session.worker_id for session in sessions if session is not None and fits(session))
            await asyncio.sleep(0)
        return found


def _one_of(ids: Collection[str]) -> Predicate:
    return lambda worker: worker.id in ids


def _label(wanted: LabelMatch) -> Predicate:
    key, pattern = wanted.key, wanted.value
    if pattern is None:
        return lambda worker: key in worker.labels
    return lambda worker: key in worker.labels and pattern.matches(worker.labels[key])


def _anywhere(pattern: TextPattern, left_behind: set[str], labels: set[tuple[str, str]]) -> Predicate:
    """Return whether a text is in the name, the ID or a label of a Worker, or in what it left behind."""
    matches, part = pattern.matches, pattern.parts[0]

    # For each of a hundred thousand: nothing is called that need not be.
    def has_part(worker: WorkerRecord) -> bool:
        return (
            part in worker.name.casefold()
            or part in worker.id.casefold()
            or worker.id in left_behind
            or (bool(labels) and not labels.isdisjoint(worker.labels.items()))
        )

    def fits(worker: WorkerRecord) -> bool:
        return (
            matches(fold(worker.name))
            or matches(fold(worker.id))
            or worker.id in left_behind
            or not labels.isdisjoint(worker.labels.items())
        )

    return has_part if len(pattern.parts) == 1 and not pattern.is_whole else fits


def _hostname(session: Session) -> str:
    return fold(session.boot.host.get("hostname", ""))


def _is_generation(generation: int, wanted: Generation, current: int) -> bool:
    match wanted:
        case None:
            return True
        case "current":
            return generation == current
        case "old":
            return generation < current
        case _:
            return generation == wanted
