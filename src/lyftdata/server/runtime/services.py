"""The parts of a running Server, in one frozen container."""

from collections.abc import Callable
from datetime import datetime

import msgspec
from starlette.types import ASGIApp

from lyftdata.core.enrollment_limit import EnrollmentLimit
from lyftdata.core.known_secrets import KnownSecrets
from lyftdata.failure_log import FailureLog
from lyftdata.server.admin.alerts.finder import Alerts
from lyftdata.server.admin.alerts.snoozes import Snoozes
from lyftdata.server.admin.api_key_order import ApiKeyOrder
from lyftdata.server.admin.api_key_queries import ApiKeyQueries
from lyftdata.server.admin.api_keys import ApiKeys
from lyftdata.server.admin.api_token_uses import ApiTokenUses
from lyftdata.server.admin.api_tokens import ApiTokens
from lyftdata.server.admin.approval_queries import ApprovalQueries
from lyftdata.server.admin.approvals import Approvals
from lyftdata.server.admin.audit_checkpoints import AuditCheckpoints
from lyftdata.server.admin.audit_export import AuditExport
from lyftdata.server.admin.audit_proofs import AuditProofs
from lyftdata.server.admin.audit_queries import AuditQueries
from lyftdata.server.admin.bulk_changes import BulkChanges
from lyftdata.server.admin.callers import Callers
from lyftdata.server.admin.decision_log import DecisionLog
from lyftdata.server.admin.device_logins import DeviceLogins
from lyftdata.server.admin.device_marks import DeviceMarks
from lyftdata.server.admin.disabled_workers import DisabledWorkers
from lyftdata.server.admin.enrollment_key_queries import EnrollmentKeyQueries
from lyftdata.server.admin.enrollment_keys import EnrollmentKeys
from lyftdata.server.admin.enrollment_queries import EnrollmentQueries
from lyftdata.server.admin.enrollment_rehearsals import EnrollmentRehearsals
from lyftdata.server.admin.enrollment_watch import EnrollmentWatch
from lyftdata.server.admin.ephemeral_workers import EphemeralWorkers
from lyftdata.server.admin.event_destination_queries import EventDestinationQueries
from lyftdata.server.admin.event_destinations import EventDestinations
from lyftdata.server.admin.event_feed import EventFeed
from lyftdata.server.admin.fleet_policy import FleetPolicies
from lyftdata.server.admin.fleet_queries import FleetQueries
from lyftdata.server.admin.fleet_versions import FleetVersions
from lyftdata.server.admin.identity_copies import CopyDecisions
from lyftdata.server.admin.incident_queries import IncidentQueries
from lyftdata.server.admin.incident_response import IncidentResponse
from lyftdata.server.admin.leaving_workers import LeavingWorkers
from lyftdata.server.admin.operator_budget import OperatorBudget
from lyftdata.server.admin.operator_passwords import OperatorPasswords
from lyftdata.server.admin.operator_permissions import OperatorPermissions
from lyftdata.server.admin.operator_sessions import OperatorSessions
from lyftdata.server.admin.operators import Operators
from lyftdata.server.admin.passkeys import Passkeys
from lyftdata.server.admin.password_check import PasswordCheck
from lyftdata.server.admin.password_sign_in import PasswordSignIn
from lyftdata.server.admin.reauthentication import Reauthentication
from lyftdata.server.admin.refusal_inbox import RefusalInbox
from lyftdata.server.admin.refusal_queries import RefusalQueries
from lyftdata.server.admin.repeated_registrations import RepeatedRegistrations
from lyftdata.server.admin.resource_queries import ResourceQueries
from lyftdata.server.admin.resources import Resources
from lyftdata.server.admin.samples import SampleLog
from lyftdata.server.admin.second_factors import SecondFactors
from lyftdata.server.admin.second_operator.queries import ChangeRequestQueries
from lyftdata.server.admin.second_operator.requests import ChangeRequests
from lyftdata.server.admin.second_operator.rules import SecondOperatorSettings
from lyftdata.server.admin.session_uses import SessionUses
from lyftdata.server.admin.signing_key_rotation import SigningKeyRotation
from lyftdata.server.admin.status_queries import StatusQueries
from lyftdata.server.admin.token_count_queries import TokenCountQueries
from lyftdata.server.admin.token_origin_queries import TokenOriginQueries
from lyftdata.server.admin.version_history import VersionHistories
from lyftdata.server.admin.worker_archive import WorkerArchive
from lyftdata.server.admin.worker_queries import WorkerQueries
from lyftdata.server.admin.workers import Workers
from lyftdata.server.admission.approval_queue import HeldRequests
from lyftdata.server.admission.brokers import Brokers
from lyftdata.server.admission.directory import Directory
from lyftdata.server.admission.dpop import Dpop
from lyftdata.server.admission.enrollment import Enrollment
from lyftdata.server.admission.identity_copies import IdentityCopies
from lyftdata.server.admission.identity_key_rotation import IdentityKeyRotation
from lyftdata.server.admission.issued_tokens import IssuedTokens
from lyftdata.server.admission.nonces import Nonces
from lyftdata.server.admission.origin_watch import OriginWatch
from lyftdata.server.admission.refusal_log import RefusalLog
from lyftdata.server.admission.refused_agents import RefusedAgents
from lyftdata.server.admission.self_management import Registrations
from lyftdata.server.admission.signing_keys import SigningKeys
from lyftdata.server.admission.token_counts import TokenCounts
from lyftdata.server.admission.token_issuer import Admission
from lyftdata.server.admission.token_origins import TokenOrigins
from lyftdata.server.admission.token_verifier import TokenVerifier
from lyftdata.server.clock import Clock
from lyftdata.server.cluster.membership import Cluster
from lyftdata.server.cluster.shared_limits import SharedLimits
from lyftdata.server.cluster.shared_logins import SharedLogins
from lyftdata.server.delivery.event_delivery import EventDelivery
from lyftdata.server.http.host_check import HostCheck
from lyftdata.server.http.overload import Overload
from lyftdata.server.metrics import Metrics
from lyftdata.server.runtime.drain import Drain
from lyftdata.server.runtime.settings import ServerSettings
from lyftdata.server.runtime.wiring.oidc import OidcParts
from lyftdata.server.runtime.worker_ca import WorkerCa
from lyftdata.server.sessions.activity import ActivityLog
from lyftdata.server.sessions.history import SessionLog
from lyftdata.server.sessions.registry import Sessions
from lyftdata.server.streams.events import Events
from lyftdata.server.streams.stream_limits import StreamLimiter
from lyftdata.store import Store


class Services(msgspec.Struct, frozen=True, kw_only=True):
    """The parts of a running Server, as the routes use them."""

    settings: ServerSettings
    issuer: str
    previous_issuers: tuple[str, ...]
    """Previous URLs of the Server: what was signed for them is still accepted."""
    started_at: datetime
    clock: Clock
    store: Store
    checkpoints: AuditCheckpoints
    directory: Directory
    signing_keys: SigningKeys
    admission: Admission
    verifier: TokenVerifier
    brokers: Brokers
    enrollment: Enrollment
    enrollment_limit: EnrollmentLimit
    held_requests: HeldRequests
    nonces: Nonces
    sessions: Sessions
    cluster: Cluster
    limits: SharedLimits
    logins: SharedLogins
    session_log: SessionLog
    refusals: RefusalLog
    refused_agents: RefusedAgents
    traces: ActivityLog
    token_origins: TokenOrigins
    token_counts: TokenCounts
    origin_watch: OriginWatch
    issued_tokens: IssuedTokens
    events: Events
    metrics: Metrics
    overload: Overload
    drain: Drain
    trace_requests: Callable[[ASGIApp], ASGIApp] | None
    """Wraps an application so that its requests are traced; None if tracing is off."""
    samples: SampleLog
    session_probes: StreamLimiter
    workers: Workers
    bulk_changes: BulkChanges
    worker_archive: WorkerArchive
    ephemeral_workers: EphemeralWorkers
    disabled_workers: DisabledWorkers
    leaving_workers: LeavingWorkers
    repeated_registrations: RepeatedRegistrations
    identity_copies: IdentityCopies
    copy_decisions: CopyDecisions
    api_keys: ApiKeys
    enrollment_keys: EnrollmentKeys
    approvals: Approvals
    resources: Resources
    fleet_policies: FleetPolicies
    signing_key_rotation: SigningKeyRotation
    second_operator_settings: SecondOperatorSettings
    change_requests: ChangeRequests
    change_request_queries: ChangeRequestQueries
    event_destinations: EventDestinations
    event_delivery: EventDelivery
    registrations: Registrations
    identity_key_rotation: IdentityKeyRotation
    dpop: Dpop
    operators: Operators
    operator_passwords: OperatorPasswords
    operator_permissions: OperatorPermissions
    operator_sessions: OperatorSessions
    password_sign_in: PasswordSignIn
    callers: Callers
    api_tokens: ApiTokens
    api_token_uses: ApiTokenUses
    session_uses: SessionUses
    reauthentication: Reauthentication
    second_factors: SecondFactors
    passkeys: Passkeys
    password_check: PasswordCheck
    device_marks: DeviceMarks
    device_logins: DeviceLogins
    oidc: OidcParts | None
    """Sign-in at an OpenID Connect issuer, if there is one."""
    budget: OperatorBudget
    known_secrets: KnownSecrets
    host_check: HostCheck
    worker_ca: WorkerCa
    worker_queries: WorkerQueries
    fleet_queries: FleetQueries
    fleet_versions: FleetVersions
    version_histories: VersionHistories
    token_origin_queries: TokenOriginQueries
    token_count_queries: TokenCountQueries
    incident_queries: IncidentQueries
    incident_response: IncidentResponse
    api_key_queries: ApiKeyQueries
    api_key_order: ApiKeyOrder
    resource_queries: ResourceQueries
    event_destination_queries: EventDestinationQueries
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
    warnings: list[str]
    decisions: DecisionLog | None
    """Logs decisions; None if that is off."""
    request_failures: FailureLog
    """Counts requests that fail because of the database."""
