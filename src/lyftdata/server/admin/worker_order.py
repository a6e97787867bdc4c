"""Sorts Workers by one of their columns; those without a value come last, whatever the direction."""

import asyncio
import heapq
from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from operator import attrgetter
from typing import Any

from lyftdata.core.query_values import fold, fold_each
from lyftdata.core.records import State, WorkerRecord
from lyftdata.core.versions import parse_version
from lyftdata.server.admin.worker_search import WorkerSearch
from lyftdata.server.admission.directory import Directory
from lyftdata.server.clock import Clock
from lyftdata.server.sessions.activity import ActivityLog
from lyftdata.server.sessions.batched import in_parts
from lyftdata.server.sessions.registry import Sessions
from lyftdata.server.sessions.session import Session, find_used_key
from lyftdata.store import Store
from lyftdata.store.tables import trace_search

_AT_ONCE = 5_000
_MAX_FIRST = 1_000
"""More are sorted at once: with this many, every part contains some of them."""
_id = attrgetter("id")
_name = attrgetter("name")
_STATE_ORDER = {state: place for place, state in enumerate(State)}


class Column(StrEnum):
    """A column by which a list of Workers can be sorted."""

    NAME = "name"
    STATUS = "status"
    HOST = "host"
    ADDRESS = "address"
    VERSION = "version"
    LABELS = "labels"
    KEY = "key"
    STRATEGY = "strategy"
    SEEN = "seen"
    CREATED = "created"


# Labels by their keys and then their values: those that have the same ones stand together, and `zone=eu-2` follows `zone=eu-1`.
_OF_THE_ENTRY: Mapping[Column, Callable[[WorkerRecord], Any]] = {
    Column.CREATED: lambda worker: worker.created_at,
    Column.LABELS: lambda worker: sorted(worker.labels.items()) or None,
    Column.STRATEGY: lambda worker: worker.strategy.value,
}


class WorkerOrder:
    """
    Sorts Workers.

    Args:
        search: Knows each Worker's state.
        directory: Holds the keys.
        sessions: Which Workers are connected; for a connected Worker, its session counts.
        traces: Activity that is not yet written.
        store: Holds the written activity.
        clock: Returns aware UTC time.
    """

    def __init__(
        self,
        *,
        search: WorkerSearch,
        directory: Directory,
        sessions: Sessions,
        traces: ActivityLog,
        store: Store,
        clock: Clock,
    ) -> None:
        self._search = search
        self._directory = directory
        self._sessions = sessions
        self._traces = traces
        self._store = store
        self._clock = clock

    async def sort(
        self, found: Sequence[WorkerRecord], by: Column, *, descending: bool, limit: int
    ) -> list[WorkerRecord]:
        """
        Return the first `limit` Workers in this order; equal ones are sorted by name and ID.

        A page shows fifty: sorting a hundred thousand for it would take most of its time.
        """
        if by is Column.NAME:
            first = heapq.nlargest if descending else heapq.nsmallest
            may_be_first = await _first_by_text(found, _folded_names, limit, descending=descending)
            return first(limit, may_be_first, key=_by_name)
        value_of = await self._values(by)
        valued = [(value_of(worker), worker) for worker in found]
        with_value = [pair for pair in valued if pair[0] is not None]
        first_ones = _first_by_value(with_value, limit, descending=descending)
        without = [worker for value, worker in valued if value is None] if len(first_ones) < limit else []
        return first_ones + heapq.nsmallest(limit - len(first_ones), without, key=_by_name)

    async def _values(self, by: Column) -> Callable[[WorkerRecord], Any]:
        if by is Column.STATUS:
            return lambda worker: _STATE_ORDER[self._search.state_of(worker)]
        if by in _OF_THE_ENTRY:
            return _OF_THE_ENTRY[by]
        await self._traces.flush()
        stored: Mapping[str, Any] = await self._store.read(lambda conn: trace_search.values_of(conn, by))
        now = self._clock()

        def of_session(session: Session) -> Any:
            match by:
                case Column.HOST:
                    return fold(session.boot.host.get("hostname", "")) or None
                case Column.ADDRESS:
                    return session.boot.address
                case Column.VERSION:
                    return session.boot.host.get("agent_version")
                case Column.SEEN:
                    return now
                case _:
                    key = find_used_key(session, self._directory.find_api_key)
                    return None if key is None else key.name

        def value(worker: WorkerRecord) -> Any:
            session = self._sessions.find(worker.id)
            found = stored.get(worker.id) if session is None else of_session(session)
            return parse_version(found) if by is Column.VERSION and found is not None else found

        return value


async def first_by_id(found: Sequence[WorkerRecord], limit: int) -> list[WorkerRecord]:
    """Return the first `limit` Workers in the order of their IDs."""
    may_be_first = await _first_by_text(found, lambda part: list(map(_id, part)), limit, descending=False)
    return heapq.nsmallest(limit, may_be_first, key=_id)


async def _first_by_text(
    found: Sequence[WorkerRecord],
    texts_of: Callable[[Sequence[WorkerRecord]], list[str]],
    limit: int,
    *,
    descending: bool,
) -> list[WorkerRecord]:
    """
    Return the Workers that are among the first `limit` by a text, and those equal to the last of these.

    Processed in parts, most of which contain none of the first: that can be checked without examining each Worker in them.
    """
    if limit > _MAX_FIRST:
        return list(found)
    in_order = heapq.nlargest if descending else heapq.nsmallest
    first: list[tuple[str, WorkerRecord]] = []
    last: str | None = None
    for part in in_parts(found, at_once=_AT_ONCE):
        texts = texts_of(part)
        if last is None or (max(texts) >= last if descending else min(texts) <= last):
            first += zip(texts, part, strict=True)
        if len(first) > limit:
            last = in_order(limit, [text for text, _ in first])[-1]
            first = [pair for pair in first if (pair[0] >= last if descending else pair[0] <= last)]
        await asyncio.sleep(0)
    return [worker for _, worker in first]


def _folded_names(part: Sequence[WorkerRecord]) -> list[str]:
    return fold_each(map(_name, part))


def _by_name(worker: WorkerRecord) -> tuple[str, str]:
    return fold(worker.name), worker.id


def _first_by_value(
    valued: Sequence[tuple[Any, WorkerRecord]], limit: int, *, descending: bool
) -> list[WorkerRecord]:
    """Return the first Workers by their values; only those with the last value shown are also compared by name."""
    if limit < len(valued):
        values = (value for value, _ in valued)
        last = (heapq.nlargest if descending else heapq.nsmallest)(limit, values)[-1]
        before = [pair for pair in valued if (pair[0] > last if descending else pair[0] < last)]
        equal = [worker for value, worker in valued if value == last]
        rest = heapq.nsmallest(limit - len(before), equal, key=_by_name)
    else:
        before, rest = list(valued), []
    before.sort(key=lambda pair: _by_name(pair[1]))
    before.sort(key=lambda pair: pair[0], reverse=descending)
    return [worker for _, worker in before] + rest
