"""Read model of the audit log, for operators."""

from lyftdata.server.admin.schemas.audit import AuditPage, AuditReport
from lyftdata.server.admin.views import audit_view
from lyftdata.store import Store, audit_log


class AuditQueries:
    """The audit log, page by page, and whether its chain is whole."""

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
        """Return decisions about trust, the latest first."""
        events = await self._store.read(
            lambda conn: audit_log.list_events(
                conn, limit=limit, before=before, action=action, subject=subject
            )
        )
        following = events[-1].number if len(events) == limit else None
        return AuditPage(items=[audit_view(event) for event in events], next=following)

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
