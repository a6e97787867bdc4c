"""What an operator sees while waiting for hosts to enroll with a key: which came, which are connected, and which were refused."""

from collections.abc import Sequence
from datetime import datetime

import msgspec

from lyftdata.core.records import Approval, RefusalAttempt, WorkerRecord
from lyftdata.core.records import RefusalGroup as RefusalGroupRecord
from lyftdata.core.scopes import Scope
from lyftdata.server.admin.refusal_queries import RefusalQueries
from lyftdata.server.admin.schemas.refusals import RefusalGroup
from lyftdata.server.admin.views import refusal_group_view
from lyftdata.server.admission.directory import Directory
from lyftdata.server.admission.refusal_log import RefusalLog
from lyftdata.server.sessions.registry import Sessions
from lyftdata.store import Store
from lyftdata.store.tables import refusals

_MAX_SHOWN = 5
_MAX_READ = 200
_WRONG_KEY = "wrong_enrollment_key"


class Newcomers(msgspec.Struct, frozen=True, kw_only=True):
    """
    The Workers that have enrolled with one generation of a key, and the attempts that were refused since it was created.

    `latest` are the last of them, the latest first; `pending` counts those that wait for approval. `refused` are attempts that the key's
    rules refused, for names that did not enroll later; `wrong` are attempts with a key that this Server does not know.
    """

    total: int
    online: int
    pending: int
    latest: Sequence[WorkerRecord]
    refused: Sequence[RefusalGroup]
    wrong: Sequence[RefusalGroup]


class EnrollmentWatch:
    """
    Finds the newcomers of a key.

    Args:
        store: Where refusals are written.
        directory: Every Worker.
        sessions: Which Workers are connected.
        refusal_log: Refusals that are not yet written.
        refusal_queries: Refusals by their causes.
    """

    def __init__(
        self,
        *,
        store: Store,
        directory: Directory,
        sessions: Sessions,
        refusal_log: RefusalLog,
        refusal_queries: RefusalQueries,
    ) -> None:
        self._store = store
        self._directory = directory
        self._sessions = sessions
        self._refusal_log = refusal_log
        self._refusal_queries = refusal_queries

    async def find(
        self, fingerprint: str, *, since: datetime, scope: Scope, with_wrong_keys: bool
    ) -> Newcomers:
        """
        Return the newcomers of a generation.

        Args:
            fingerprint: Of the generation, which is within the scope.
            since: When it was created.
            scope: Of the operator.
            with_wrong_keys: Whether the operator may see refusals of unproven callers, which concern the whole Server.
        """
        workers = self._enrolled(fingerprint, scope)
        names = {worker.name for worker in workers}
        attempts = await self._refused(fingerprint, since)
        groups = refusals.group_attempts(one for one in attempts if one.claimed_worker not in names)
        return Newcomers(
            total=len(workers),
            online=sum(self._sessions.find(worker.id) is not None for worker in workers),
            pending=sum(worker.approval is Approval.PENDING for worker in workers),
            latest=sorted(workers, key=lambda worker: worker.created_at, reverse=True)[:_MAX_SHOWN],
            refused=[refusal_group_view(group) for group in _latest(groups)],
            wrong=await self._wrong(since) if with_wrong_keys else [],
        )

    def _enrolled(self, fingerprint: str, scope: Scope) -> list[WorkerRecord]:
        if not self._directory.enrolled_with(fingerprint):
            return []
        return [
            worker
            for worker in self._directory.workers()
            if worker.enrolled_with == fingerprint
            and worker.superseded_by is None
            and worker.approval in {None, Approval.PENDING}
            and scope.covers_worker(worker)
        ]

    async def _refused(self, fingerprint: str, since: datetime) -> list[RefusalAttempt]:
        """Return attempts with the key, the oldest first, each only once."""
        unwritten = [
            one
            for one in self._refusal_log.unwritten()
            if one.enrollment_key == fingerprint and one.at >= since
        ]
        written = await self._store.read(
            lambda conn: refusals.list_by_enrollment_key(conn, [fingerprint], since=since, limit=_MAX_READ)
        )
        by_reference = {one.reference: one for one in [*reversed(written), *unwritten]}
        return list(by_reference.values())

    async def _wrong(self, since: datetime) -> list[RefusalGroup]:
        groups = await self._refusal_queries.list_groups(limit=_MAX_SHOWN, code=_WRONG_KEY)
        return [group for group in groups if group.last_at >= since]


def _latest(groups: Sequence[RefusalGroupRecord]) -> Sequence[RefusalGroupRecord]:
    return sorted(groups, key=lambda group: group.last_at, reverse=True)[:_MAX_SHOWN]
