"""Read model of Workers, for operators. Lists come from memory: see `worker_search`."""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime

from lyftdata.core.records import (
    IdentityCopyRecord,
    State,
    Status,
    WorkerRecord,
    WorkerTraces,
    key_rotation_of,
)
from lyftdata.core.scopes import Scope
from lyftdata.core.worker_query import WorkerQuery
from lyftdata.server.admin.schemas.workers import IdentityCopy, Worker, WorkerPage, WorkerSession
from lyftdata.server.admin.views import identity_copy_view, worker_session_view
from lyftdata.server.admin.worker_order import Column, WorkerOrder, first_by_id
from lyftdata.server.admin.worker_search import WorkerSearch
from lyftdata.server.admission.directory import Directory
from lyftdata.server.clock import Clock
from lyftdata.server.sessions.activity import ActivityLog
from lyftdata.server.sessions.history import SessionLog
from lyftdata.server.sessions.registry import Sessions
from lyftdata.server.sessions.session import Session, find_used_key
from lyftdata.store import Store
from lyftdata.store.tables import activity, identity_copies, workers

_SHOWN_AT_ONCE = 50


class WorkerQueries:
    """The Workers as operators see them: entry, activity and session joined."""

    def __init__(
        self,
        *,
        search: WorkerSearch,
        order: WorkerOrder,
        directory: Directory,
        sessions: Sessions,
        traces: ActivityLog,
        session_log: SessionLog,
        store: Store,
        clock: Clock,
    ) -> None:
        self._search = search
        self._order = order
        self._directory = directory
        self._sessions = sessions
        self._traces = traces
        self._session_log = session_log
        self._store = store
        self._clock = clock

    async def find(self, wanted: WorkerQuery, *, scope: Scope) -> list[WorkerRecord]:
        """Return the Workers within a scope that match a search, in no order; archived ones only if it asks for them."""
        return await self._search.find(wanted, scope=scope)

    async def sort(
        self, found: Sequence[WorkerRecord], by: Column, *, descending: bool, limit: int
    ) -> list[WorkerRecord]:
        """Return the first `limit` of these Workers in the order of a column."""
        return await self._order.sort(found, by, descending=descending, limit=limit)

    def ids_with_identity_key(self, *, scope: Scope) -> list[str]:
        """Return the IDs of the Workers within a scope that have an identity key in use, including archived ones."""
        return [
            worker.id
            for worker in self._directory.workers()
            if worker.thumbprint is not None and worker.superseded_by is None and scope.covers_worker(worker)
        ]

    async def page(self, wanted: WorkerQuery, *, scope: Scope, limit: int, after: str | None) -> WorkerPage:
        """Return a page of the Workers within a scope, in order of ID; `after` is `next` of the previous page."""
        found = await self.find(wanted, scope=scope)
        following = found if after is None else [worker for worker in found if worker.id > after]
        items = await first_by_id(following, limit)
        return WorkerPage(
            items=await self.show(items),
            next=items[-1].id if len(following) > limit else None,
            total=len(found),
        )

    async def get(self, worker_id: str, *, scope: Scope) -> Worker:
        """Return one Worker; raises NotFoundError, also for one outside the scope."""
        record = await self._store.read(lambda conn: workers.get_worker_in(conn, worker_id, scope))
        return (await self.show([record]))[0]

    async def show(self, records: Sequence[WorkerRecord]) -> list[Worker]:
        """Build the views of these Workers, with their activity."""
        ids = [record.id for record in records]
        stored = await self._store.read(lambda conn: activity.find_traces(conn, ids))
        shown: list[Worker] = []
        for begin in range(0, len(records), _SHOWN_AT_ONCE):
            shown += [self.view(record, stored) for record in records[begin : begin + _SHOWN_AT_ONCE]]
            # Workers' requests are answered in between.
            await asyncio.sleep(0)
        return shown

    async def sessions_of(self, worker_id: str, *, scope: Scope) -> list[WorkerSession]:
        """Return the last sessions of a Worker, the latest first; raises NotFoundError."""
        await self._store.read(lambda conn: workers.get_worker_in(conn, worker_id, scope))
        kept = await self._session_log.sessions_of(worker_id)
        current = self._sessions.find(worker_id)
        since = None if current is None else current.since
        return [worker_session_view(r, is_open=r.ended_at is None and r.started_at == since) for r in kept]

    async def copies_of(self, worker_id: str, *, scope: Scope) -> list[IdentityCopy]:
        """Return the refused copies of a Worker's identity, the latest first; raises NotFoundError."""
        await self._store.read(lambda conn: workers.get_worker_in(conn, worker_id, scope))
        found = await self._store.read(lambda conn: identity_copies.list_copies(conn, [worker_id]))
        return [identity_copy_view(record) for record in found.get(worker_id, ())]

    async def undecided_copies(self, *, limit: int) -> list[IdentityCopyRecord]:
        """Return the undecided copies of any Worker's identity, the latest first."""
        return await self._store.read(lambda conn: identity_copies.list_undecided(conn, limit=limit))

    async def last_admitted(self, worker_ids: Collection[str]) -> dict[str, datetime]:
        """
        Return when these Workers were last admitted, by ID; Workers that never were are left out.

        For a connected Worker, when it connected: that it keeps getting tokens says nothing about a second host that is refused.
        """
        started = await self._session_log.last_starts(worker_ids)
        found: dict[str, datetime] = {}
        for worker_id in worker_ids:
            session = self._sessions.find(worker_id)
            since = self._traces.admitted_at(worker_id) if session is None else session.since
            times = [at for at in (started.get(worker_id), since) if at is not None]
            if times:
                found[worker_id] = max(times)
        return found

    def status_of(self, worker_id: str) -> Status:
        """Return whether a Worker is connected, has been connected, or never was."""
        return self._search.status_of(worker_id)

    def state_of(self, worker: WorkerRecord) -> State:
        """Return the state of an entry, in one word."""
        return self._search.state_of(worker)

    def view(self, worker: WorkerRecord, stored: Mapping[str, WorkerTraces]) -> Worker:
        """Join a Worker entry with its activity, written or not, and its session."""
        traces = self._traces.pending(worker.id) or stored.get(worker.id) or WorkerTraces(worker_id=worker.id)
        session = self._sessions.find(worker.id)
        return Worker(
            id=worker.id,
            name=worker.name,
            strategy=worker.strategy,
            enabled=worker.enabled,
            disabled_note=worker.disabled_note,
            disabled_until=worker.disabled_until,
            status=self.status_of(worker.id),
            labels=worker.labels,
            last_seen_at=self._clock()
            if session is not None
            else self._traces.left_at(worker.id) or traces.last_seen_at,
            address=session.boot.address if session is not None else traces.address,
            enrolled_with=worker.enrolled_with,
            enrolled_from=worker.enrolled_from,
            api_key=traces.api_key_name if session is None else self._used_key_name(session),
            created_at=worker.created_at,
            created_by=worker.created_by,
            superseded_by=worker.superseded_by,
            archived_at=worker.archived_at,
            ephemeral=worker.ephemeral,
            approval=worker.approval,
            thumbprint=worker.thumbprint,
            key_rotation=key_rotation_of(worker),
            key_since=worker.key_since,
            key_rotation_asked_at=worker.rotation_asked_at,
            dpop_bound=worker.dpop_bound,
            connected_since=session.since if session is not None else None,
            host=session.boot.host if session is not None else traces.host,
            reported_labels=session.boot.reported_labels if session is not None else {},
        )

    def _used_key_name(self, session: Session) -> str | None:
        key = find_used_key(session, self._directory.find_api_key)
        return None if key is None else key.name
