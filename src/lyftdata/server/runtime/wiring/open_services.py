"""
Opens the Server's parts in order: the store, then each part, then the background tasks.

The parts need the store, and commits change the parts: this cycle is closed in one place, where the store gets the parts to which it
delivers commits from then on. The parts have loaded what was committed before, when they were built.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import URL

from lyftdata.core.audit_checkpoints import CheckpointKey
from lyftdata.core.log_events.server import (
    REQUEST_FAILED,
    SECRET_KEY_SETTLED,
)
from lyftdata.core.rate_limit import FailureLimiter
from lyftdata.core.secret import Secret
from lyftdata.failure_log import FailureLog
from lyftdata.log import emit, get_logger
from lyftdata.server.admin.approvals import Approvals
from lyftdata.server.admin.audit_checkpoints import AuditCheckpoints
from lyftdata.server.admin.disabled_workers import DisabledWorkers
from lyftdata.server.admin.first_password import print_first_password
from lyftdata.server.admin.identity_copies import CopyDecisions
from lyftdata.server.admin.kept_checkpoint import KeptCheckpoint
from lyftdata.server.admin.passwords import Passwords
from lyftdata.server.admin.second_operator.gate import SecondOperatorGate
from lyftdata.server.admin.second_operator.queries import ChangeRequestQueries
from lyftdata.server.admission.replay_file import KeptReplays, load_replays, save_replays
from lyftdata.server.clock import Clock, RandomBytes, random_bytes, utc_now
from lyftdata.server.cluster.shared_limits import SharedLimits
from lyftdata.server.cluster.shared_logins import SharedLogins
from lyftdata.server.http.host_check import HostCheck
from lyftdata.server.http.overload import Overload
from lyftdata.server.runtime.background import DetachedTasks, background_tasks
from lyftdata.server.runtime.data_dir import database_file, prepare_staging_dir
from lyftdata.server.runtime.drain import Drain
from lyftdata.server.runtime.issuer import (
    audit_warnings,
    issuer_of,
    issuer_warnings,
    secret_key_warnings,
    warnings_of,
)
from lyftdata.server.runtime.secret_keys import audit_key_of, load_secret_key, settle_secret_key
from lyftdata.server.runtime.services import Services
from lyftdata.server.runtime.settings import ServerSettings
from lyftdata.server.runtime.wiring.admission import build_admission
from lyftdata.server.runtime.wiring.basis import Basis
from lyftdata.server.runtime.wiring.changes import build_change_applier
from lyftdata.server.runtime.wiring.events import build_events
from lyftdata.server.runtime.wiring.incidents import build_incidents
from lyftdata.server.runtime.wiring.leaving import build_leaving
from lyftdata.server.runtime.wiring.oidc import OidcParts
from lyftdata.server.runtime.wiring.operators import build_operators
from lyftdata.server.runtime.wiring.part_types import PartTypes
from lyftdata.server.runtime.wiring.read_models import build_read_models
from lyftdata.server.runtime.wiring.second_operator import build_second_operator
from lyftdata.server.runtime.wiring.sessions import build_sessions
from lyftdata.server.runtime.worker_ca import WorkerCa
from lyftdata.server.streams.stream_limits import StreamLimiter
from lyftdata.store.dialects import exposure

if TYPE_CHECKING:
    # From the extra `otel`: only imported if tracing is on.
    from lyftdata.server.runtime.tracing import Tracing

_log = get_logger(__name__)
_MAX_PROBES, _MAX_PROBES_PER_WORKER = 32, 2


@contextlib.asynccontextmanager
async def open_services(
    settings: ServerSettings,
    *,
    clock: Clock = utc_now,
    random_source: RandomBytes = random_bytes,
    passwords: Passwords | None = None,
    announce_password: Callable[[Secret], None] = print_first_password,
    tracing: "Tracing | None" = None,
) -> AsyncIterator[Services]:
    """
    Open the store, load what admission needs, create what is missing, and run it all until the end of the block.

    Raises:
        SettingsError: The data directory or the secret key cannot be used.
        PasswordNotPrintedError: At the first start, the random password of `admin` could not be printed.
        StoreError: The database cannot be used.
        KeyDecryptionError: The secret key is not the one the signing keys were encrypted with.
    """
    part_types = PartTypes() if tracing is None else tracing.parts
    prepare_staging_dir(settings.staging_dir)
    url = _database_url(settings)
    secret_key = await asyncio.to_thread(
        load_secret_key,
        settings.staging_dir,
        given=settings.secret_key,
        given_next=settings.secret_key_next,
        random_bytes=random_source,
        database=url,
    )
    store = await asyncio.to_thread(part_types.store.open, url, audit_key=audit_key_of(secret_key))
    kept: KeptReplays | None = None
    try:
        if settings.secret_key is None:
            await asyncio.to_thread(_finish_key_rotation, settings.staging_dir, url)
        if not store.is_shared:
            kept = load_replays(settings.staging_dir)
        issuer = issuer_of(settings)
        basis = Basis(
            settings=settings,
            store=store,
            checkpoints=AuditCheckpoints(
                store=store,
                key=CheckpointKey(audit_key_of(secret_key), issuer=issuer),
                audit_key=audit_key_of(secret_key),
                kept=KeptCheckpoint(settings.staging_dir),
                clock=clock,
            ),
            secret_key=secret_key,
            clock=clock,
            random_bytes=random_source,
            kept=kept,
            started_at=clock(),
            issuer=issuer,
            previous_issuers=tuple(url for url in settings.previous_public_urls if url != issuer),
            part_types=part_types,
        )
        await basis.checkpoints.compare_with_kept()
        services = await _build_services(basis, passwords or Passwords(), tracing)
        await services.operators.ensure_first(settings.admin_init_password, announce=announce_password)
        detached = DetachedTasks()
        store.deliver_changes_to(
            build_change_applier(services, detached).on_change, load=services.signing_keys.catch_up
        )
        await services.cluster.load_presence()
        store.start_change_feed()
        await services.cluster.join()
        async with background_tasks(services):
            try:
                yield services
            finally:
                if not store.is_shared:
                    kept = KeptReplays(
                        services.admission.spent.used(),
                        services.dpop.spent.used(),
                        lost_before=services.admission.spent.lost_before,
                    )
        await detached.wait()
    finally:
        if kept is not None:
            save_replays(settings.staging_dir, kept)
        await store.close()


def _database_url(settings: ServerSettings) -> str | URL:
    if settings.database_url is not None:
        return settings.database_url.reveal()
    # Built from its parts: the directory's name may contain characters that are special in a URL.
    return URL.create("sqlite", database=str(database_file(settings.staging_dir)))


def _finish_key_rotation(staging_dir: Path, url: str | URL) -> None:
    is_new = settle_secret_key(staging_dir, database=url)
    if is_new is not None:
        emit(_log, SECRET_KEY_SETTLED, key="new" if is_new else "old")


def _limits_at_the_issuer(oidc: OidcParts | None) -> dict[str, FailureLimiter]:
    if oidc is None:
        return {}
    return {"issuer_codes": oidc.limits.codes, "issuer_refusals": oidc.limits.audited}


async def _build_services(basis: Basis, passwords: Passwords, tracing: "Tracing | None") -> Services:
    settings, store, clock = basis.settings, basis.store, basis.clock
    sessions = await build_sessions(basis)
    logins = SharedLogins(store=store)
    admission = await build_admission(basis, sessions, logins)
    gate = SecondOperatorGate(store=store, clock=clock, random_bytes=basis.random_bytes)
    operators = await build_operators(
        basis, passwords, known_secrets=admission.known_secrets, gate=gate, metrics=admission.metrics
    )
    warnings = [
        *warnings_of(settings, basis.issuer),
        *issuer_warnings(admission.directory, basis.issuers),
        *audit_warnings(store, basis.checkpoints),
        *await asyncio.to_thread(secret_key_warnings, settings, basis.secret_key),
        *await store.read(exposure.find),
    ]
    leaving = build_leaving(basis, sessions, admission)
    events = build_events(basis, admission)
    read_models = build_read_models(basis, sessions, admission, operators, leaving, warnings, events.queries)
    incidents = build_incidents(basis, sessions, admission, read_models, gate)
    second_operator = build_second_operator(
        basis, gate, admission=admission, operators=operators, read_models=read_models, incidents=incidents
    )
    limits = SharedLimits(
        store=store,
        limiters={
            "refusals": admission.refusals.limiter,
            "registrations": admission.registrations.limiter,
            "enrollments": admission.enrollment_limit,
            "device_logins": operators.device_logins.begun,
            "device_codes": operators.device_logins.guesses,
            **_limits_at_the_issuer(operators.oidc),
        },
        lockout=operators.lockout,
        clock=clock,
    )
    return Services(
        settings=settings,
        issuer=basis.issuer,
        previous_issuers=basis.previous_issuers,
        started_at=basis.started_at,
        clock=clock,
        store=store,
        checkpoints=basis.checkpoints,
        directory=admission.directory,
        signing_keys=admission.signing_keys,
        admission=admission.admission,
        verifier=admission.verifier,
        brokers=admission.brokers,
        enrollment=admission.enrollment,
        enrollment_limit=admission.enrollment_limit,
        held_requests=admission.held_requests,
        nonces=admission.nonces,
        sessions=sessions.sessions,
        cluster=sessions.cluster,
        limits=limits,
        logins=logins,
        session_log=sessions.session_log,
        refusals=admission.refusals,
        refused_agents=admission.refused_agents,
        traces=sessions.traces,
        token_origins=admission.token_origins,
        token_counts=admission.token_counts,
        origin_watch=admission.origin_watch,
        issued_tokens=admission.issued_tokens,
        events=sessions.events,
        metrics=admission.metrics,
        overload=Overload(monotonic=time.monotonic, count=admission.metrics.count_shed_request),
        drain=Drain(sessions=sessions.sessions, cluster=sessions.cluster, delay=settings.shutdown_delay),
        trace_requests=None if tracing is None else tracing.trace_requests,
        samples=read_models.samples,
        session_probes=StreamLimiter(total=_MAX_PROBES, per_operator=_MAX_PROBES_PER_WORKER),
        workers=operators.workers,
        bulk_changes=second_operator.bulk_changes,
        worker_archive=operators.worker_archive,
        ephemeral_workers=leaving.ephemeral_workers,
        disabled_workers=DisabledWorkers(store=store, directory=admission.directory, clock=clock),
        leaving_workers=leaving.leaving_workers,
        repeated_registrations=leaving.repeated_registrations,
        identity_copies=admission.identity_copies,
        copy_decisions=CopyDecisions(store=store, counters=admission.admission.counters, clock=clock),
        api_keys=operators.api_keys,
        enrollment_keys=operators.enrollment_keys,
        approvals=Approvals(
            store=store,
            name_claims=admission.name_claims,
            expires_after=settings.approval_expires_after,
            clock=clock,
        ),
        resources=operators.resources,
        fleet_policies=second_operator.fleet_policies,
        signing_key_rotation=second_operator.signing_key_rotation,
        second_operator_settings=second_operator.settings,
        change_requests=second_operator.requests,
        change_request_queries=ChangeRequestQueries(store=store, clock=clock),
        event_destinations=events.event_destinations,
        event_delivery=events.event_delivery,
        registrations=admission.registrations,
        identity_key_rotation=admission.identity_key_rotation,
        dpop=admission.dpop,
        operators=operators.operators,
        operator_passwords=operators.operator_passwords,
        operator_permissions=operators.operator_permissions,
        operator_sessions=operators.operator_sessions,
        password_sign_in=operators.password_sign_in,
        callers=operators.callers,
        api_tokens=operators.api_tokens,
        api_token_uses=operators.api_token_uses,
        session_uses=operators.session_uses,
        reauthentication=operators.reauthentication,
        second_factors=operators.second_factors,
        passkeys=operators.passkeys,
        password_check=operators.password_check,
        device_marks=operators.device_marks,
        device_logins=operators.device_logins,
        oidc=operators.oidc,
        budget=operators.budget,
        known_secrets=admission.known_secrets,
        host_check=HostCheck(issuers=basis.issuers, bind_host=settings.bind_address.host),
        worker_ca=WorkerCa(settings, issuer=basis.issuer),
        worker_queries=read_models.worker_queries,
        fleet_queries=read_models.fleet_queries,
        fleet_versions=read_models.fleet_versions,
        version_histories=read_models.version_histories,
        token_origin_queries=read_models.token_origin_queries,
        token_count_queries=read_models.token_count_queries,
        incident_queries=incidents.queries,
        incident_response=incidents.response,
        api_key_queries=read_models.api_key_queries,
        api_key_order=read_models.api_key_order,
        resource_queries=read_models.resource_queries,
        event_destination_queries=events.queries,
        refusal_queries=read_models.refusal_queries,
        refusal_inbox=read_models.refusal_inbox,
        audit_queries=read_models.audit_queries,
        status_queries=read_models.status_queries,
        enrollment_queries=read_models.enrollment_queries,
        enrollment_key_queries=read_models.enrollment_key_queries,
        enrollment_watch=read_models.enrollment_watch,
        enrollment_rehearsals=read_models.enrollment_rehearsals,
        approval_queries=read_models.approval_queries,
        alerts=read_models.alerts,
        snoozes=read_models.snoozes,
        audit_export=read_models.audit_export,
        audit_proofs=read_models.audit_proofs,
        event_feed=read_models.event_feed,
        warnings=warnings,
        decisions=sessions.decisions,
        request_failures=FailureLog(get_logger(__name__), REQUEST_FAILED),
    )
