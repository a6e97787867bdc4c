"""Read model of refused attempts, for operators."""

from lyftdata.core.errors import NotFoundError
from lyftdata.core.records import RefusalAttempt
from lyftdata.server.admin.schemas.refusals import Refusal, RefusalGroup
from lyftdata.server.admin.views import refusal_group_view, refusal_view
from lyftdata.server.admission.refusal_log import RefusalLog
from lyftdata.store import Store
from lyftdata.store.tables import refusals


class RefusalQueries:
    """Refused attempts, including those not yet written."""

    def __init__(self, *, store: Store, refusals: RefusalLog) -> None:
        self._store = store
        self._refusals = refusals

    async def list_groups(
        self,
        *,
        limit: int,
        code: str | None = None,
        q: str | None = None,
        claimed_worker: str | None = None,
    ) -> list[RefusalGroup]:
        """
        Return refused attempts grouped by cause, claimed Worker and address, the latest first.

        Unwritten attempts are added here: in a flood, waiting for them to be written would take long.
        """
        kept = await self._store.read(
            lambda conn: refusals.list_groups(
                conn, limit=limit, code=code, q=q, claimed_worker=claimed_worker
            )
        )
        unwritten = [
            attempt
            for attempt in self._refusals.unwritten()
            if _fits(attempt, code=code, q=q, claimed_worker=claimed_worker)
        ]
        groups = refusals.group_attempts(unwritten, onto=kept)
        latest = sorted(groups, key=lambda group: group.last_at, reverse=True)[:limit]
        return [refusal_group_view(group) for group in latest]

    async def get(self, reference: str) -> Refusal:
        """Return one refused attempt with its full cause, by the reference that the Worker logged; raises NotFoundError."""
        wanted = reference.strip().upper()
        attempt = self._refusals.find_unwritten(wanted)
        if attempt is None:
            attempt = await self._store.read(lambda conn: refusals.find_reference(conn, wanted))
        if attempt is None:
            raise NotFoundError("refusal", reference)
        return refusal_view(attempt)


def _fits(attempt: RefusalAttempt, *, code: str | None, q: str | None, claimed_worker: str | None) -> bool:
    part = (q or "").casefold()
    return (
        (not code or attempt.code == code)
        and (claimed_worker is None or attempt.claimed_worker == claimed_worker)
        and (part in attempt.claimed_worker.casefold() or part in attempt.address)
    )
