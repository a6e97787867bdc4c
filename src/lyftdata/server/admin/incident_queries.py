"""The report of an incident, and the progress of a cut-off."""

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import timedelta

from lyftdata.core.errors import NotFoundError
from lyftdata.core.incidents import CUT_OFF, parse_since
from lyftdata.core.records import TokenOriginRecord, WorkerTraces
from lyftdata.server.admin.incident_evidence import Evidence, IncidentEvidence
from lyftdata.server.admin.incident_progress import CutOffTracker
from lyftdata.server.admin.incident_steps import IncidentSteps
from lyftdata.server.admin.incident_subjects import FoundSubject, IncidentSubjects
from lyftdata.server.admin.schemas.incidents import (
    CutOff,
    CutOffProgress,
    IncidentReport,
    IncidentSubject,
    IncidentTokens,
    IncidentWorker,
)
from lyftdata.server.admin.token_origin_queries import TokenOriginQueries
from lyftdata.server.admin.worker_queries import WorkerQueries
from lyftdata.server.admission.directory import Directory
from lyftdata.server.clock import Clock
from lyftdata.server.sessions.registry import Sessions
from lyftdata.store import Store, audit_log
from lyftdata.store.audit_log import AuditFilter
from lyftdata.store.tables import activity, token_origins, worker_sessions

MAX_WORKERS = 10_000
_MAX_CUT_OFFS = 20
_SHOWN_AT_ONCE = 50
# Data of another Server may be written with this delay.
_WRITTEN_WITHIN = timedelta(minutes=1)

NOT_RECORDED = (
    "Single tokens. For each network, credential and audience of a Worker the first and the last time are kept, for the last "
    f"{token_origins.KEPT_OF_A_WORKER} of these combinations. What another Server knows about them is up to a minute late.",
    "What a service did for a Worker that presented a token. The logs of the services listed under tokens show it.",
    f"Sessions before the last {worker_sessions.KEPT_OF_A_WORKER} of each Worker, and the credential with which an earlier session was opened.",
    "Deleted Workers, except for their events in the audit log.",
    "Refused attempts: they are under Refusals (`lyftdata refusals list`), for as long as they are kept.",
)


class IncidentQueries:
    """Joins entries, sessions and origins of tokens into one report."""

    def __init__(
        self,
        *,
        subjects: IncidentSubjects,
        evidence: IncidentEvidence,
        steps: IncidentSteps,
        cut_offs: CutOffTracker,
        workers: WorkerQueries,
        origins: TokenOriginQueries,
        directory: Directory,
        sessions: Sessions,
        store: Store,
        token_ttl_s: int,
        clock: Clock,
    ) -> None:
        self._subjects = subjects
        self._evidence = evidence
        self._steps = steps
        self._tracker = cut_offs
        self._workers = workers
        self._origins = origins
        self._directory = directory
        self._sessions = sessions
        self._store = store
        self._token_ttl = timedelta(seconds=token_ttl_s)
        self._clock = clock

    async def report(self, subject: str, since: str) -> IncidentReport:
        """
        Return what is recorded about an incident.

        Args:
            subject: Parsed by `core.incidents.parse_subject`.
            since: Parsed by `core.incidents.parse_since`.

        Raises:
            InvalidInputError, NotFoundError, ConflictError: See `IncidentSubjects.find` and `parse_since`.
        """
        now = self._clock()
        start = parse_since(since, now=now)
        found = self._subjects.find(subject, now=now)
        evidence = await self._evidence.collect(found, since=start)
        shown = self._connected_first(evidence)[:MAX_WORKERS]
        origins = [origin for of_worker in evidence.origins.values() for origin in of_worker]
        tokens = self._tokens(origins)
        return IncidentReport(
            made_at=now,
            subject=_subject_view(found),
            since=start,
            workers_total=len(evidence.reasons),
            connected=sum(self._sessions.is_online(worker_id) for worker_id in evidence.reasons),
            workers=await self._show(shown, evidence),
            tokens=tokens,
            networks=sorted({origin.network for origin in origins}),
            by_reason=dict(
                Counter(reason for of_worker in evidence.reasons.values() for reason in of_worker)
            ),
            by_hand=self._steps.list_steps(found, evidence, tokens, now=now),
            cut_offs=await self._cut_offs(found),
            not_recorded=list(NOT_RECORDED),
        )

    async def progress(self, number: int) -> CutOffProgress:
        """Return the progress of a cut-off, by the number of its audit event; raises NotFoundError."""
        event = await self._store.read(lambda conn: audit_log.find_event(conn, number))
        if event is None or event.event.action != CUT_OFF:
            raise NotFoundError("cut_off", str(number))
        return self._tracker.progress(event)

    def _connected_first(self, evidence: Evidence) -> list[str]:
        return sorted(
            evidence.reasons, key=lambda worker_id: (not self._sessions.is_online(worker_id), worker_id)
        )

    async def _show(self, worker_ids: Sequence[str], evidence: Evidence) -> list[IncidentWorker]:
        stored = await self._store.read(lambda conn: activity.find_traces(conn, worker_ids))
        shown: list[IncidentWorker] = []
        for begin in range(0, len(worker_ids), _SHOWN_AT_ONCE):
            for worker_id in worker_ids[begin : begin + _SHOWN_AT_ONCE]:
                view = self._view(worker_id, evidence, stored)
                shown += [] if view is None else [view]
            # Workers' requests are answered in between.
            await asyncio.sleep(0)
        return shown

    def _view(
        self, worker_id: str, evidence: Evidence, stored: Mapping[str, WorkerTraces]
    ) -> IncidentWorker | None:
        record = self._directory.find_worker(worker_id)
        if record is None:
            return None
        worker, origins = self._workers.view(record, stored), evidence.origins[worker_id]
        return IncidentWorker(
            id=worker.id,
            name=worker.name,
            strategy=worker.strategy,
            state=self._workers.state_of(record),
            reasons=list(evidence.reasons[worker_id]),
            connected_since=worker.connected_since,
            address=worker.address,
            hostname=worker.host.get("hostname"),
            created_at=worker.created_at,
            enrolled_from=worker.enrolled_from,
            last_token_at=max((origin.last_at for origin in origins), default=None),
            tokens=[self._origins.view(origin) for origin in origins],
        )

    def _tokens(self, origins: Sequence[TokenOriginRecord]) -> list[IncidentTokens]:
        by_audience: dict[str, list[TokenOriginRecord]] = {}
        for origin in origins:
            by_audience.setdefault(origin.audience, []).append(origin)
        return [self._tokens_for(audience, by_audience[audience]) for audience in sorted(by_audience)]

    def _tokens_for(self, audience: str, origins: Sequence[TokenOriginRecord]) -> IncidentTokens:
        resource = self._directory.find_resource(audience=audience)
        last_at = max(origin.last_at for origin in origins)
        return IncidentTokens(
            audience=audience,
            resource=None if resource is None else resource.name,
            workers=len({origin.worker_id for origin in origins}),
            networks=sorted({origin.network for origin in origins}),
            last_at=last_at,
            valid_until=last_at + self._token_ttl + _WRITTEN_WITHIN,
        )

    async def _cut_offs(self, found: FoundSubject) -> list[CutOff]:
        events = await self._store.read(
            lambda conn: audit_log.list_events(
                conn, limit=_MAX_CUT_OFFS, wanted=AuditFilter(action=CUT_OFF, subject=found.audit_subject)
            )
        )
        return [
            CutOff.model_validate(self._tracker.progress(event), from_attributes=True) for event in events
        ]


def _subject_view(found: FoundSubject) -> IncidentSubject:
    return IncidentSubject(
        kind=found.subject.kind,
        name=found.subject.value,
        text=str(found.subject),
        is_live=found.is_live,
        can_be_revoked=found.can_be_revoked,
    )
