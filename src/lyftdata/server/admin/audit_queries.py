"""Read model of the audit log, for operators."""

from collections.abc import Collection
from datetime import datetime

from sqlalchemy import Connection

from lyftdata.core import access_history
from lyftdata.core.access_history import ACTIONS, enrollment_keys_at, workers_at
from lyftdata.core.errors import ConflictError, InvalidInputError
from lyftdata.server.admin.schemas.audit import AccessReport, AuditEvent, AuditPage, AuditReport, WorkerAccess
from lyftdata.server.admin.views import audit_view
from lyftdata.store import Store, audit_log
from lyftdata.store.audit_log import AuditFilter
from lyftdata.store.tables import api_keys, enrollment_keys, workers

_MAX_OF_ACTIONS = 50


class AuditQueries:
    """The audit log, page by page, and whether its chain is intact."""

    def __init__(self, *, store: Store) -> None:
        self._store = store

    async def list_page(
        self,
        *,
        limit: int,
        before: int | None = None,
        action: str | None = None,
        subject: str | None = None,
    ) -> AuditPage:
        """Return events of one kind or about one subject, the latest first."""
        wanted = AuditFilter(action=action, subject=subject)
        return await self.find_page(wanted, limit=limit, before=before)

    async def find_page(self, wanted: AuditFilter, *, limit: int, before: int | None = None) -> AuditPage:
        """Return the events that match a filter, the latest first."""
        events = await self._store.read(
            lambda conn: audit_log.list_events(conn, limit=limit, before=before, wanted=wanted)
        )
        following = events[-1].number if len(events) == limit else None
        return AuditPage(items=[audit_view(event) for event in events], next=following)

    async def known_actions(self) -> list[str]:
        """Return every kind of event in the log."""
        return await self._store.read(audit_log.known_actions)

    async def list_actions(self, actions: Collection[str], *, since: datetime) -> list[AuditEvent]:
        """Return the latest events of these kinds since a time, the latest first."""
        events = await self._store.read(
            lambda conn: audit_log.list_of_actions(conn, actions, since=since, limit=_MAX_OF_ACTIONS)
        )
        return [audit_view(event) for event in events]

    async def access_at(self, at: datetime, *, now: datetime, worker_id: str | None = None) -> AccessReport:
        """
        Return which Workers had access at a given time, and by which credential.

        Raises:
            InvalidInputError: The time is in the future.
            ConflictError: `audit_log_begins_later`: events since then have been pruned.
        """
        if at > now:
            raise InvalidInputError("at", "must not be in the future")

        def read(conn: Connection) -> AccessReport:
            first = audit_log.first_time(conn)
            if audit_log.removed_through(conn) and first is not None and at < first:
                raise ConflictError(
                    "audit_log_begins_later",
                    f"The audit log begins at {first:%Y-%m-%dT%H:%M:%SZ}: earlier events were too old to be kept.",
                    hint="Read an export that was made before.",
                )
            events = audit_log.events_of(conn, ACTIONS)
            found = workers_at(
                at,
                workers=workers.all_workers(conn),
                api_keys=api_keys.all_api_keys(conn),
                events=events,
            )
            shown = [worker for worker in found if worker_id in {None, worker.worker_id}]
            return AccessReport(
                at=at,
                workers=[_show_access(worker) for worker in shown],
                enrollment_keys=enrollment_keys_at(at, enrollment_keys.all_enrollment_keys(conn), events),
            )

        return await self._store.read(read)

    async def verify(self) -> AuditReport:
        """Check every link of the chain: no row was changed, removed, inserted or moved."""
        report = await self._store.verify_audit()
        return AuditReport(
            ok=report.ok,
            checked=report.checked,
            removed=report.removed,
            head_number=report.head_number,
            head_hash=report.head_hash.hex(),
            first_bad=report.first_bad,
            problem=report.problem,
        )


def _show_access(found: access_history.WorkerAccess) -> WorkerAccess:
    return WorkerAccess(
        worker_id=found.worker_id,
        name=found.name,
        strategy=found.strategy,
        access=found.access,
        by=list(found.by),
    )
