"""Builds what operators see: queries, alerts, audit export, live events."""

import msgspec

from lyftdata.server.admin.alerts.copied_passkeys import CopiedPasskeys
from lyftdata.server.admin.alerts.finder import Alerts
from lyftdata.server.admin.alerts.snoozes import Snoozes
from lyftdata.server.admin.api_key_order import ApiKeyOrder
from lyftdata.server.admin.api_key_queries import ApiKeyQueries
from lyftdata.server.admin.approval_queries import ApprovalQueries
from lyftdata.server.admin.audit_export import AuditExport
from lyftdata.server.admin.audit_proofs import AuditProofs
from lyftdata.server.admin.audit_queries import AuditQueries
from lyftdata.server.admin.enrollment_key_queries import EnrollmentKeyQueries
from lyftdata.server.admin.enrollment_queries import EnrollmentQueries
from lyftdata.server.admin.enrollment_rehearsals import EnrollmentRehearsals
from lyftdata.server.admin.enrollment_watch import EnrollmentWatch
from lyftdata.server.admin.event_destination_queries import EventDestinationQueries
from lyftdata.server.admin.event_feed import EventFeed
from lyftdata.server.admin.fleet_queries import FleetQueries
from lyftdata.server.admin.fleet_versions import FleetVersions
from lyftdata.server.admin.refusal_inbox import RefusalInbox
from lyftdata.server.admin.refusal_queries import RefusalQueries
from lyftdata.server.admin.resource_queries import ResourceQueries
from lyftdata.server.admin.samples import SampleLog
from lyftdata.server.admin.second_operator.queries import ChangeRequestQueries
from lyftdata.server.admin.status_queries import StatusQueries
from lyftdata.server.admin.token_count_queries import TokenCountQueries
from lyftdata.server.admin.token_origin_queries import TokenOriginQueries
from lyftdata.server.admin.version_history import VersionHistories
from lyftdata.server.admin.worker_order import WorkerOrder
from lyftdata.server.admin.worker_queries import WorkerQueries
from lyftdata.server.admin.worker_search import WorkerSearch
from lyftdata.server.runtime.secret_keys import audit_key_of
from lyftdata.server.runtime.wiring.admission import AdmissionParts
from lyftdata.server.runtime.wiring.basis import Basis
from lyftdata.server.runtime.wiring.leaving import LeavingParts
from lyftdata.server.runtime.wiring.operators import OperatorParts
from lyftdata.server.runtime.wiring.sessions import SessionParts


class ReadModels(msgspec.Struct, frozen=True, kw_only=True):
    """The read models of operators."""

    worker_queries: WorkerQueries
    fleet_queries: FleetQueries
    fleet_versions: FleetVersions
    version_histories: VersionHistories
    token_origin_queries: TokenOriginQueries
    token_count_queries: TokenCountQueries
    api_key_queries: ApiKeyQueries
    api_key_order: ApiKeyOrder
    resource_queries: ResourceQueries
    refusal_queries: RefusalQueries
    refusal_inbox: RefusalInbox
    audit_queries: AuditQueries
    status_queries: StatusQueries
    enrollment_queries: EnrollmentQueries
    enrollment_key_queries: EnrollmentKeyQueries
    enrollment_watch: EnrollmentWatch
    enrollment_rehearsals: EnrollmentRehearsals
    approval_queries: ApprovalQueries
    alerts: Alerts
    snoozes: Snoozes
    audit_export: AuditExport
    audit_proofs: AuditProofs
    event_feed: EventFeed
    samples: SampleLog


def build_read_models(
    basis: Basis,
    sessions: SessionParts,
    admission: AdmissionParts,
    operators: OperatorParts,
    leaving: LeavingParts,
    warnings: list[str],
    event_destination_queries: EventDestinationQueries,
) -> ReadModels:
    """Build the queries, each from what it reads."""
    store, clock, directory = basis.store, basis.clock, admission.directory
    fleet_queries = FleetQueries(
        started_at=basis.started_at,
        directory=directory,
        sessions=sessions.sessions,
        traces=sessions.traces,
        session_log=sessions.session_log,
        store=store,
        clock=clock,
    )
    fleet_versions = FleetVersions(
        directory=directory,
        sessions=sessions.sessions,
        traces=sessions.traces,
        refused_agents=admission.refused_agents,
        store=store,
        clock=clock,
    )
    worker_search = WorkerSearch(
        directory=directory,
        sessions=sessions.sessions,
        traces=sessions.traces,
        origins=admission.token_origins,
        fleet=fleet_queries,
        store=store,
        startup_keys=lambda: [key.fingerprint for key in admission.enrollment.keys],
        clock=clock,
    )
    worker_order = WorkerOrder(
        search=worker_search,
        directory=directory,
        sessions=sessions.sessions,
        traces=sessions.traces,
        store=store,
        clock=clock,
    )
    worker_queries = WorkerQueries(
        order=worker_order,
        search=worker_search,
        directory=directory,
        sessions=sessions.sessions,
        traces=sessions.traces,
        session_log=sessions.session_log,
        store=store,
        clock=clock,
    )
    api_key_queries = ApiKeyQueries(
        directory=directory,
        sessions=sessions.sessions,
        traces=sessions.traces,
        origins=admission.token_origins,
        store=store,
        clock=clock,
    )
    refusal_queries = RefusalQueries(store=store, refusals=admission.refusals)
    refusal_inbox = RefusalInbox(
        workers=worker_queries,
        refusals=refusal_queries,
        directory=directory,
        known_secrets=admission.known_secrets,
        store=store,
        clock=clock,
    )
    token_origin_queries = TokenOriginQueries(
        origins=admission.token_origins, directory=directory, store=store, clock=clock
    )
    samples = SampleLog(
        store=store, metrics=admission.metrics, online=sessions.sessions.online_count, clock=clock
    )
    alerts = Alerts(
        workers=worker_queries,
        api_keys=api_key_queries,
        inbox=refusal_inbox,
        fleet_versions=fleet_versions,
        token_origins=token_origin_queries,
        repeated_registrations=leaving.repeated_registrations,
        directory=directory,
        change_requests=ChangeRequestQueries(store=store, clock=clock),
        copied_passkeys=CopiedPasskeys(store=store, clock=clock),
        event_destinations=event_destination_queries,
        audit_is_intact=lambda: store.audit_is_intact and not basis.checkpoints.problem,
        signing_keys=admission.signing_keys,
        store=store,
        warnings=warnings,
        archive_after=basis.settings.archive_after,
        clock=clock,
    )
    return ReadModels(
        worker_queries=worker_queries,
        fleet_queries=fleet_queries,
        fleet_versions=fleet_versions,
        version_histories=VersionHistories(store=store, versions=fleet_versions, clock=clock),
        token_origin_queries=token_origin_queries,
        token_count_queries=TokenCountQueries(counts=admission.token_counts, store=store, clock=clock),
        api_key_queries=api_key_queries,
        api_key_order=ApiKeyOrder(
            directory=directory,
            sessions=sessions.sessions,
            traces=sessions.traces,
            store=store,
            clock=clock,
        ),
        resource_queries=ResourceQueries(directory=directory),
        refusal_queries=refusal_queries,
        refusal_inbox=refusal_inbox,
        audit_queries=AuditQueries(store=store),
        status_queries=StatusQueries(
            issuer=basis.issuer,
            started_at=basis.started_at,
            warnings=warnings,
            directory=directory,
            sessions=sessions.sessions,
            enrollment=admission.enrollment,
            all_servers=sessions.cluster.all_servers,
            sample_log=samples,
            store=store,
            clock=clock,
        ),
        enrollment_queries=EnrollmentQueries(
            enrollment=admission.enrollment,
            previous_issuers=basis.previous_issuers,
            directory=directory,
            traces=sessions.traces,
            store=store,
        ),
        enrollment_key_queries=EnrollmentKeyQueries(
            enrollment=admission.enrollment,
            directory=directory,
            traces=sessions.traces,
            store=store,
            clock=clock,
        ),
        enrollment_watch=EnrollmentWatch(
            store=store,
            directory=directory,
            sessions=sessions.sessions,
            refusal_log=admission.refusals,
            refusal_queries=refusal_queries,
        ),
        enrollment_rehearsals=EnrollmentRehearsals(
            enrollment=admission.enrollment, refusals=admission.refusals, store=store, clock=clock
        ),
        approval_queries=ApprovalQueries(
            directory=directory, store=store, expires_after=basis.settings.approval_expires_after
        ),
        alerts=alerts,
        snoozes=Snoozes(
            alerts=alerts,
            known_secrets=admission.known_secrets,
            store=store,
            events=sessions.events,
            clock=clock,
        ),
        audit_export=AuditExport(
            store=store,
            checkpoints=basis.checkpoints,
            callers=operators.callers,
            budget=operators.budget,
        ),
        audit_proofs=AuditProofs(
            store=store, checkpoints=basis.checkpoints, audit_key=audit_key_of(basis.secret_key)
        ),
        event_feed=EventFeed(
            events=sessions.events, directory=directory, workers=worker_queries, store=store
        ),
        samples=samples,
    )
