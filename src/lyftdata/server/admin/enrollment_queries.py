"""Read model of Auto-Enrollment, for operators."""

from collections.abc import Sequence

from lyftdata.server.admin.schemas.enrollment import EnrollmentKeyStatus, EnrollmentStatus, PreviousIssuer
from lyftdata.server.admission.directory import Directory
from lyftdata.server.admission.enrollment import Enrollment
from lyftdata.server.sessions.activity import ActivityLog
from lyftdata.store import Store
from lyftdata.store.tables import enrollment_key_uses


class EnrollmentQueries:
    """Whether Auto-Enrollment is on, and the fingerprints of its secrets."""

    def __init__(
        self,
        *,
        enrollment: Enrollment,
        previous_issuers: Sequence[str],
        directory: Directory,
        traces: ActivityLog,
        store: Store,
    ) -> None:
        self._enrollment = enrollment
        self._previous_issuers = previous_issuers
        self._directory = directory
        self._traces = traces
        self._store = store

    async def show(self) -> EnrollmentStatus:
        """Show whether Auto-Enrollment is on, with fingerprints; the secret itself is never shown."""
        fingerprints = [accepted.fingerprint for accepted in self._enrollment.keys]
        used = await self._store.read(lambda conn: enrollment_key_uses.last_used(conn, fingerprints))
        keys = [
            EnrollmentKeyStatus(
                fingerprint=accepted.fingerprint,
                role=accepted.role,
                warnings=accepted.warnings,
                workers=self._directory.enrolled_with(accepted.fingerprint),
                last_used_at=self._traces.enrollment_key_pending(accepted.fingerprint)
                or used.get(accepted.fingerprint),
            )
            for accepted in self._enrollment.keys
        ]
        counts = self._directory.count_by_issuer()
        return EnrollmentStatus(
            enabled=self._enrollment.is_enabled(),
            name_policy=self._enrollment.name_policy,
            keys=keys,
            previous_issuers=[
                PreviousIssuer(issuer=issuer, workers=counts.get(issuer, 0))
                for issuer in self._previous_issuers
            ],
        )
