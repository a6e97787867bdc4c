"""Read model of the Workers that wait for approval."""

from datetime import timedelta

from lyftdata.core.records import Approval, EnrollmentKeyRecord, WorkerRecord
from lyftdata.core.scopes import Scope, covers_enrollment_key
from lyftdata.server.admin.schemas.approvals import PendingWorker
from lyftdata.server.admission.directory import Directory
from lyftdata.store import Store
from lyftdata.store.tables import activity, workers


class ApprovalQueries:
    """What operators see of a Worker before they approve it."""

    def __init__(self, *, directory: Directory, store: Store, expires_after: timedelta) -> None:
        self._directory = directory
        self._store = store
        self._expires_after = expires_after

    async def list_pending(self, *, scope: Scope) -> list[PendingWorker]:
        """Return the Workers within a scope that wait for approval, those waiting longest first."""
        pending = [
            worker
            for worker in self._directory.workers()
            if worker.approval is Approval.PENDING and scope.covers_worker(worker)
        ]
        pending.sort(key=lambda worker: (worker.created_at, worker.id))
        return await self._show(pending, scope)

    async def _show(self, pending: list[WorkerRecord], scope: Scope) -> list[PendingWorker]:
        ids, names = [worker.id for worker in pending], {worker.name for worker in pending}
        traces = await self._store.read(lambda conn: activity.find_traces(conn, ids))
        holders = await self._store.read(lambda conn: workers.find_live_by_names(conn, names))
        keys = self._key_names(scope)
        shown = []
        for worker in pending:
            left, holder = traces.get(worker.id), holders.get(worker.name)
            since = worker.approval_since or worker.created_at
            shown.append(
                PendingWorker(
                    id=worker.id,
                    name=worker.name,
                    thumbprint=str(worker.thumbprint),
                    address=worker.enrolled_from,
                    enrollment_key=keys.get(worker.enrolled_with or ""),
                    enrolled_with=worker.enrolled_with,
                    labels=worker.labels,
                    host={} if left is None else left.host,
                    requested_at=since,
                    expires_at=since + self._expires_after,
                    name_holder=holder.id if holder is not None and scope.covers_worker(holder) else None,
                )
            )
        return shown

    def _key_names(self, scope: Scope) -> dict[str, str]:
        """Return the names of the enrollment keys within a scope, by the fingerprints of their generations."""
        generations: dict[str, list[EnrollmentKeyRecord]] = {}
        for record in self._directory.enrollment_keys():
            generations.setdefault(record.name, []).append(record)
        return {
            record.fingerprint: name
            for name, records in generations.items()
            if covers_enrollment_key(scope, records)
            for record in records
        }
