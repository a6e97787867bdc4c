"""
Finds the Workers that match a search, among all entries in memory.

Conditions on entries come first, and those on connections (`last_connections`) are only checked for the remaining ones: they need the
database. The result is computed in parts: with a hundred thousand entries, Workers' requests are answered in between.
"""

import asyncio
from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import UTC, datetime
from ipaddress import IPv4Network, IPv6Network

from lyftdata.core.fleet_verdict import Presence
from lyftdata.core.query_values import Age, Generation, KeyPattern, TextPattern, VersionRange, fold
from lyftdata.core.records import (
    ApiKeyRecord,
    EnrollmentKeyRecord,
    KeyRotation,
    State,
    Status,
    Strategy,
    WorkerRecord,
    key_rotation_of,
)
from lyftdata.core.scopes import Scope, covers_api_key, covers_enrollment_key
from lyftdata.core.worker_query import Condition, Field, LabelMatch, Term, WorkerQuery
from lyftdata.server.admin.fleet_queries import FleetQueries
from lyftdata.server.admin.last_connections import LastConnections
from lyftdata.server.admin.worker_filters import (
    Filter,
    any_of,
    by_any_label,
    by_creation,
    by_id,
    by_id_text,
    by_label,
    by_name,
    none_of,
    where,
)
from lyftdata.server.admission.directory import Directory
from lyftdata.server.admission.token_origins import TokenOrigins
from lyftdata.server.clock import Clock
from lyftdata.server.sessions.activity import ActivityLog
from lyftdata.server.sessions.batched import in_parts
from lyftdata.server.sessions.registry import Sessions
from lyftdata.store import Store
from lyftdata.store.tables import activity
from lyftdata.store.tables.trace_search import (
    AddressIsIn,
    AnyTextFits,
    HostFits,
    KeyIsOneOf,
    LastSeen,
    TraceCondition,
    VersionFits,
)

# From the cheapest and most selective to the most expensive. Fields that one scan answers for all terms together are not listed.
_ORDER = (
    Field.LABEL,
    Field.STRATEGY,
    Field.CREATED,
    Field.ENROLLED,
    Field.ROTATION,
    Field.ID,
    Field.NAME,
    Field.STATUS,
    Field.PRESENCE,
    Field.KEY,
    Field.HOST,
    Field.VERSION,
    Field.SEEN,
    Field.ADDRESS,
    Field.INACTIVE,
    Field.TEXT,
)
_OF_ENTRIES = frozenset(_ORDER[: _ORDER.index(Field.PRESENCE)])
_AT_ONCE = 2_000
"""Comparing this many entries takes less than a millisecond, and long enough that yielding does not dominate."""
_EVER = datetime(2000, 1, 1, tzinfo=UTC)


class WorkerSearch:
    """
    Searches Workers in the language of `core.worker_query`.

    Args:
        directory: Holds the entries and the keys.
        sessions: Which Workers are connected, to any Server.
        traces: Activity that is not yet written.
        origins: With which keys Workers got tokens.
        fleet: Which Workers are expected to be connected.
        store: Holds the written activity.
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
        self._connections = LastConnections(directory=directory, sessions=sessions, store=store)

    async def find(self, query: WorkerQuery, *, scope: Scope) -> list[WorkerRecord]:
        """Return the Workers within a scope that match, in no order; archived ones only if the search names that state."""
        is_searched = self._is_searched(query, scope)
        everyone = list(self._directory.workers())
        found = everyone if is_searched is None else await _leave(everyone, is_searched)
        terms = sorted(query.terms, key=lambda term: _ORDER.index(term.field))
        of_entries = [term for term in terms if term.field in _OF_ENTRIES]
        for term in of_entries:
            found = await _leave(found, await self._filter(term, found, scope))
        others = terms[len(of_entries) :]
        if others and found:
            # So that activity of the last second counts.
            await self._traces.flush()
        scanned = [(term, asked) for term in others if (asked := self._trace_term(term))]
        if scanned and found:
            ids = await self._connections.find_ids([asked for _, asked in scanned], found)
            if of_entries:
                found = await _leave(found, by_id(set(ids)))
            else:
                found = await self._with_ids(ids, query, scope)
        answered = [term for term, _ in scanned]
        for term in others:
            if found and term not in answered:
                found = await _leave(found, await self._filter(term, found, scope))
        return found

    def status_of(self, worker_id: str) -> Status:
        """Return whether a Worker is connected, has been connected, or never was."""
        if self._sessions.is_online(worker_id):
            return Status.ONLINE
        return Status.OFFLINE if worker_id in self._traces.seen else Status.NEVER_CONNECTED

    def state_of(self, worker: WorkerRecord) -> State:
        """Return the state of an entry, in one word."""
        if worker.archived_at is not None:
            return State.ARCHIVED
        if worker.superseded_by is not None:
            return State.SUPERSEDED
        if not worker.enabled:
            return State.DISABLED
        if worker.approval is not None:
            return State(worker.approval.value)
        # Without creating a `Status`: this is called for each entry of a large fleet.
        if self._sessions.is_online(worker.id):
            return State.ONLINE
        return State.OFFLINE if worker.id in self._traces.seen else State.NEVER_CONNECTED

    def _is_searched(self, query: WorkerQuery, scope: Scope) -> Filter | None:
        """Return a filter for the Workers that a search considers: within a scope, archived or not; None for all."""
        wants_archived = query.wants_archived
        if scope.is_limited:
            return where(
                lambda worker: (
                    (worker.archived_at is not None) is wants_archived and scope.covers_worker(worker)
                )
            )
        if not wants_archived and not self._directory.archived_count():
            return None
        return lambda part: [worker for worker in part if (worker.archived_at is not None) is wants_archived]

    async def _with_ids(self, ids: Iterable[str], query: WorkerQuery, scope: Scope) -> list[WorkerRecord]:
        """Return the Workers with these IDs that a search considers; faster than checking the ID of every Worker."""
        found: list[WorkerRecord] = []
        for part in in_parts(ids, at_once=_AT_ONCE):
            workers = self._directory.find_workers(part)
            # Checked again for each part: a Worker may have been archived, or left the scope, in between.
            is_searched = self._is_searched(query, scope)
            found += workers if is_searched is None else is_searched(workers)
            await asyncio.sleep(0)
        return found

    def _trace_term(self, term: Term) -> list[TraceCondition]:
        """Return the conditions with which a shared scan answers a term; empty if the term must be answered differently."""
        if term.is_negated or term.field is Field.TEXT:
            return []
        asked = [self._trace_condition(term.field, condition) for condition in term.conditions]
        conditions = [condition for condition in asked if condition is not None]
        return conditions if len(conditions) == len(asked) else []

    def _trace_condition(self, field: Field, condition: Condition) -> TraceCondition | None:
        """Return the database condition for a search condition; None if it is answered differently, or matches nothing."""
        asked: TraceCondition | None = None
        match field, condition:
            case Field.HOST, TextPattern():
                asked = HostFits(condition)
            case Field.TEXT, TextPattern():
                names = (key.name for key in self._directory.api_keys())
                asked = AnyTextFits(condition, frozenset(n for n in names if condition.matches(fold(n))))
            case Field.VERSION, VersionRange():
                asked = VersionFits(condition)
            case Field.ADDRESS, IPv4Network() | IPv6Network():
                asked = AddressIsIn(condition)
            case Field.SEEN, Age(comparison=comparison, span=span):
                at = self._clock() - span
                asked = LastSeen(since=at) if comparison == "<" else LastSeen(before=at)
            case Field.KEY, KeyPattern(name=name, generation=None):
                names = (key.name for key in self._directory.api_keys())
                asked = KeyIsOneOf(frozenset(filter(name.matches, names)))
            case _:
                pass
        return asked

    async def _filter(self, term: Term, among: Sequence[WorkerRecord], scope: Scope) -> Filter:
        fitting = [
            await self._condition(term.field, condition, among, scope) for condition in term.conditions
        ]
        return none_of(fitting) if term.is_negated else any_of(fitting)

    async def _condition(
        self, field: Field, condition: Condition, among: Sequence[WorkerRecord], scope: Scope
    ) -> Filter:
        asked = self._trace_condition(field, condition)
        if asked is not None:
            connected_so = by_id(set(await self._connections.find_ids([[asked]], among)))
            return self._anywhere(asked, connected_so) if isinstance(asked, AnyTextFits) else connected_so
        match condition:
            case Age() if field is Field.INACTIVE:
                return await self._inactive(self._clock() - condition.span)
            case Presence():
                return by_id((await self._fleet.state()).ids(condition))
            case KeyPattern():
                return by_id(set(await self._ids_by_generation(condition, among, scope)))
            case _:
                return self._of_entry(field, condition, scope)

    def _anywhere(self, asked: AnyTextFits, connected_so: Filter) -> Filter:
        """Keep only Workers with a text in their name, ID or a label, or in how they were connected."""
        pattern = asked.pattern
        by_label_text = by_any_label(pattern, self._directory.label_texts)
        return any_of([by_name(pattern), by_id_text(pattern), by_label_text, connected_so])

    def _of_entry(self, field: Field, condition: Condition, scope: Scope) -> Filter:
        """Return the filter for a condition on the entry alone, or on whether it is connected."""
        match condition:
            case TextPattern() if field is Field.ENROLLED:
                return self._enrolled(condition, scope)
            case TextPattern():
                return by_name(condition) if field is Field.NAME else by_id_text(condition)
            case Age():
                return by_creation(self._clock() - condition.span, is_later=condition.comparison == "<")
            case LabelMatch():
                return by_label(condition)
            case State() | Strategy() | KeyRotation():
                return self._choice(condition)
            case _:
                return where(lambda worker: self.status_of(worker.id) is Status.NEVER_CONNECTED)

    def _choice(self, wanted: State | Strategy | KeyRotation) -> Filter:
        match wanted:
            case State():
                return where(lambda worker: self.state_of(worker) is wanted)
            case Strategy():
                return where(lambda worker: worker.strategy is wanted)
            case KeyRotation():
                return where(lambda worker: key_rotation_of(worker) is wanted)

    def _enrolled(self, pattern: TextPattern, scope: Scope) -> Filter:
        """Return the filter for an enrollment key, by its name or the beginning of its fingerprint."""
        generations: dict[str, list[EnrollmentKeyRecord]] = {}
        for key in self._directory.enrollment_keys():
            if pattern.matches(fold(key.name)):
                generations.setdefault(key.name, []).append(key)
        # Enumeration: a Worker of the scope may have enrolled with a key outside, whose name could be guessed a letter at a time. The
        # fingerprint is shown with the Worker.
        named = {
            key.fingerprint
            for of_a_name in generations.values()
            if covers_enrollment_key(scope, of_a_name)
            for key in of_a_name
        }
        if pattern.matches("startup") and not scope.is_limited:
            named |= set(self._startup_keys())
        return where(
            lambda worker: (
                worker.enrolled_with is not None
                and (worker.enrolled_with in named or pattern.matches(fold(worker.enrolled_with)))
            )
        )

    async def _inactive(self, since: datetime) -> Filter:
        active = await self._store.read(lambda conn: activity.active_ids(conn, since=since))
        active |= set(self._sessions.online_ids())
        return lambda part: [
            worker for worker in part if worker.created_at < since and worker.id not in active
        ]

    async def _ids_by_generation(
        self, wanted: KeyPattern, among: Sequence[WorkerRecord], scope: Scope
    ) -> Collection[str]:
        """Return the IDs of the Workers that are connected with such a generation of a key, or got their last token with it."""
        generations: dict[str, list[ApiKeyRecord]] = {}
        for key in self._directory.api_keys():
            if wanted.name.matches(key.name):
                generations.setdefault(key.name, []).append(key)
        # Enumeration: a Worker of the scope may once have used a key outside, whose name is shown nowhere.
        find_worker = self._directory.find_worker
        groups = [group for group in generations.values() if covers_api_key(scope, group, find_worker)]
        keys = [key for group in groups for key in group]
        newest = {group[0].name: max(key.generation for key in group) for group in groups}
        fitting = {
            key.public_id
            for key in keys
            if _is_generation(key.generation, wanted.generation, newest[key.name])
        }
        return await self._connections.find_by_key(
            await self._ids_by_last_token(keys, fitting), fitting, among
        )

    async def _ids_by_last_token(self, keys: Iterable[ApiKeyRecord], fitting: Collection[str]) -> set[str]:
        """Return the IDs of the Workers whose last token with any of these keys was with a matching one, as on the key's page."""
        uses = await self._origins.last_uses([f"key.{key.public_id}" for key in keys], since=_EVER)
        last: dict[str, tuple[datetime, bool]] = {}
        for credential, workers in uses.items():
            fits = credential.removeprefix("key.") in fitting
            for worker_id, at in workers.items():
                last[worker_id] = max((at, fits), last.get(worker_id, (at, fits)))
        return {worker_id for worker_id, (_, fits) in last.items() if fits}


async def _leave(workers: Sequence[WorkerRecord], fitting: Filter) -> list[WorkerRecord]:
    """Return the Workers that pass a filter; in parts, between which other requests are answered."""
    found: list[WorkerRecord] = []
    for part in in_parts(workers, at_once=_AT_ONCE):
        found += fitting(part)
        await asyncio.sleep(0)
    return found


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
