"""
Opens the Server's parts: what each one needs is given to its constructor, part by part.

`open_services` is the order of it. Each `_build_…` makes the parts of one room.
"""

import asyncio
import contextlib
import hmac
import socket
import time
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import datetime, timedelta

import msgspec
from sqlalchemy import URL

from lyftdata.core.enrollment_limit import EnrollmentLimit
from lyftdata.core.keyring import RotationPolicy
from lyftdata.core.lockout import Lockout
from lyftdata.core.log_events.server import (
    REQUEST_FAILED,
)
from lyftdata.core.records import SessionEnd
from lyftdata.core.secret import Secret
from lyftdata.log import get_logger
from lyftdata.server.admin.alerts import Alerts
from lyftdata.server.admin.api_key_queries import ApiKeyQueries
from lyftdata.server.admin.api_keys import ApiKeys
from lyftdata.server.admin.audit_export import AuditExport
from lyftdata.server.admin.audit_queries import AuditQueries
from lyftdata.server.admin.decision_log import DecisionLog
from lyftdata.server.admin.device_marks import DeviceMarks
from lyftdata.server.admin.enrollment_queries import EnrollmentQueries
from lyftdata.server.admin.event_feed import EventFeed
from lyftdata.server.admin.first_password import print_first_password
from lyftdata.server.admin.operator_budget import OperatorBudget
from lyftdata.server.admin.operators import NETWORK_KEY_PURPOSE, Operators
from lyftdata.server.admin.passwords import Passwords
from lyftdata.server.admin.refusal_queries import RefusalQueries
from lyftdata.server.admin.resource_queries import ResourceQueries
from lyftdata.server.admin.resources import Resources
from lyftdata.server.admin.samples import SampleLog
from lyftdata.server.admin.status_queries import StatusQueries
from lyftdata.server.admin.worker_queries import WorkerQueries
from lyftdata.server.admin.workers import Fleet
from lyftdata.server.admission.brokers import Brokers
from lyftdata.server.admission.directory import Directory
from lyftdata.server.admission.dpop import MAX_PROOFS_PER_WORKER, Dpop
from lyftdata.server.admission.enrollment import Enrollment
from lyftdata.server.admission.nonces import Nonces
from lyftdata.server.admission.refusal_log import RefusalLog
from lyftdata.server.admission.replay import SpentAssertions
from lyftdata.server.admission.replay_file import KeptReplays, leave_replays, take_replays
from lyftdata.server.admission.returning import ReturningWorkers
from lyftdata.server.admission.self_management import Registrations
from lyftdata.server.admission.token_issuer import Admission
from lyftdata.server.admission.token_verifier import TokenVerifier
from lyftdata.server.clock import Clock, RandomBytes, random_bytes, utc_now
from lyftdata.server.cluster.change_applier import ChangeApplier, ClusterHandlers
from lyftdata.server.cluster.membership import Cluster, TouchedWorkers
from lyftdata.server.cluster.shared_limits import SharedLimits
from lyftdata.server.cluster.shared_logins import SharedLogins
from lyftdata.server.events import Events
from lyftdata.server.failure_log import FailureLog
from lyftdata.server.http.host_check import HostCheck
from lyftdata.server.http.overload import Overload
from lyftdata.server.known_secrets import KnownSecrets
from lyftdata.server.metrics import Metrics
from lyftdata.server.runtime.background import DetachedTasks, kept_going
from lyftdata.server.runtime.data_dir import (
    audit_key_of,
    database_file,
    derive_key,
    load_secret_key,
    prepare_staging_dir,
)
from lyftdata.server.runtime.issuer import (
    accepted_keys,
    audit_warnings,
    issuer_of,
    issuer_warnings,
    warnings_of,
)
from lyftdata.server.runtime.services import Services
from lyftdata.server.runtime.session_handlers import ServerSessionHandlers
from lyftdata.server.runtime.settings import ServerSettings
from lyftdata.server.sessions.activity import ActivityLog
from lyftdata.server.sessions.history import SessionLog
from lyftdata.server.sessions.registry import Sessions
from lyftdata.server.signing_keys import SigningKeys
from lyftdata.store import Store
from lyftdata.store.changes import Change
from lyftdata.store.dialects import exposure
from lyftdata.store.tables import (
    activity,
    api_keys,
    resources,
    revoked_tokens,
    worker_sessions,
    workers,
)
from lyftdata.store.tables.operators import unlocks_by_name


class ChangeRelay:
    """Hands committed changes on, once there are parts to hand them to; what was committed before, those have read."""

    def __init__(self) -> None:
        self._applier: ChangeApplier | None = None

    def start(self, applier: ChangeApplier) -> None:
        """Hand on what is committed from here on."""
        self._applier = applier

    def on_change(self, changes: Sequence[Change]) -> None:
        """Take a commit's changes."""
        if self._applier is not None:
            self._applier.on_change(changes)


class _Basis(msgspec.Struct, frozen=True, kw_only=True):
    """What every part is made from."""

    settings: ServerSettings
    store: Store
    secret_key: bytes
    clock: Clock
    random_bytes: RandomBytes
    kept: KeptReplays | None
    started_at: datetime
    issuer: str
    previous_issuers: tuple[str, ...]

    @property
    def issuers(self) -> tuple[str, ...]:
        return (self.issuer, *self.previous_issuers)

    @property
    def lost_before(self) -> datetime | None:
        """Assertions made before this may have been used unseen. With several Servers the database has them, and none are lost."""
        if self.store.is_shared:
            return None
        return self.started_at if self.kept is None else self.kept.lost_before

    def key(self, purpose: str) -> bytes:
        return derive_key(self.secret_key, purpose=purpose)

    def nonce_key(self, purpose: str) -> bytes:
        # One Server alone takes a new key at each start: a nonce from before it, and what was signed with that, is void.
        return self.key(purpose) if self.store.is_shared else self.random_bytes(32)


class _SessionParts(msgspec.Struct, frozen=True, kw_only=True):
    sessions: Sessions
    session_log: SessionLog
    cluster: Cluster
    traces: ActivityLog
    returning: ReturningWorkers
    events: Events
    decisions: DecisionLog | None


class _AdmissionParts(msgspec.Struct, frozen=True, kw_only=True):
    directory: Directory
    signing_keys: SigningKeys
    admission: Admission
    verifier: TokenVerifier
    brokers: Brokers
    enrollment: Enrollment
    enrollment_limit: EnrollmentLimit
    nonces: Nonces
    refusals: RefusalLog
    registrations: Registrations
    dpop: Dpop
    metrics: Metrics
    known_secrets: KnownSecrets


class _OperatorParts(msgspec.Struct, frozen=True, kw_only=True):
    operators: Operators
    device_marks: DeviceMarks
    budget: OperatorBudget
    fleet: Fleet
    api_keys: ApiKeys
    resources: Resources
    lockout: Lockout


class _ReadModels(msgspec.Struct, frozen=True, kw_only=True):
    worker_queries: WorkerQueries
    api_key_queries: ApiKeyQueries
    resource_queries: ResourceQueries
    refusal_queries: RefusalQueries
    audit_queries: AuditQueries
    status_queries: StatusQueries
    enrollment_queries: EnrollmentQueries
    alerts: Alerts
    audit_export: AuditExport
    event_feed: EventFeed
    samples: SampleLog


@contextlib.asynccontextmanager
async def open_services(
    settings: ServerSettings,
    *,
    clock: Clock = utc_now,
    random_source: RandomBytes = random_bytes,
    passwords: Passwords | None = None,
    announce_password: Callable[[Secret], None] = print_first_password,
) -> AsyncIterator[Services]:
    """
    Open the store, load what admission needs, make what is missing, and keep it all going until the end.

    Raises:
        SettingsError: The data directory or the secret key cannot be used.
        PasswordNotPrintedError: At the first start, the random password of `admin` could not be printed.
        StoreError: The database cannot be used.
        KeyDecryptionError: The secret key is not the one the signing keys were encrypted with.
    """
    prepare_staging_dir(settings.staging_dir)
    secret_key = load_secret_key(settings.staging_dir, given=settings.secret_key, random_bytes=random_source)
    relay = ChangeRelay()
    store = await asyncio.to_thread(
        Store.open, _database_url(settings), audit_key=audit_key_of(secret_key), on_change=relay.on_change
    )
    kept: KeptReplays | None = None
    try:
        if not store.is_shared:
            kept = take_replays(settings.staging_dir)
        issuer = issuer_of(settings)
        basis = _Basis(
            settings=settings,
            store=store,
            secret_key=secret_key,
            clock=clock,
            random_bytes=random_source,
            kept=kept,
            started_at=clock(),
            issuer=issuer,
            previous_issuers=tuple(url for url in settings.previous_public_urls if url != issuer),
        )
        services = await _build_services(basis, passwords or Passwords())
        await services.operators.ensure_first(settings.admin_init_password, announce=announce_password)
        detached = DetachedTasks()
        relay.start(_build_change_applier(services, detached))
        await services.cluster.learn()
        store.hear()
        await services.cluster.join()
        async with kept_going(services):
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
            leave_replays(settings.staging_dir, kept)
        await store.close()


def _database_url(settings: ServerSettings) -> str | URL:
    if settings.database_url is not None:
        return settings.database_url.reveal()
    # Built from its parts: a directory's name may hold what means something in a URL.
    return URL.create("sqlite", database=str(database_file(settings.staging_dir)))


def _build_change_applier(services: Services, detached: DetachedTasks) -> ChangeApplier:
    return ChangeApplier(
        directory=services.directory,
        sessions=services.sessions,
        refusals=services.refusals,
        traces=services.traces,
        events=services.events,
        cluster=ClusterHandlers(
            presence=services.cluster.heard,
            signing_keys=lambda: detached.start(services.signing_keys.read()),
            broadcast=(services.limits.heard, services.logins.heard),
            missed=services.brokers.has_missed_some,
        ),
        clock=services.clock,
    )


async def _build_services(basis: _Basis, passwords: Passwords) -> Services:
    settings, store, clock = basis.settings, basis.store, basis.clock
    sessions = await _build_sessions(basis)
    admission = await _build_admission(basis, sessions)
    operators = await _build_operators(basis, passwords, admission.known_secrets)
    warnings = [
        *warnings_of(settings, basis.issuer),
        *issuer_warnings(admission.directory, basis.issuers),
        *audit_warnings(store),
        *await store.read(exposure.find),
    ]
    read_models = _build_read_models(basis, sessions, admission, operators, warnings)
    limits = SharedLimits(
        store=store,
        limiters={
            "refusals": admission.refusals.limiter,
            "registrations": admission.registrations.limiter,
            "enrollments": admission.enrollment_limit,
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
        directory=admission.directory,
        signing_keys=admission.signing_keys,
        admission=admission.admission,
        verifier=admission.verifier,
        brokers=admission.brokers,
        enrollment=admission.enrollment,
        enrollment_limit=admission.enrollment_limit,
        nonces=admission.nonces,
        sessions=sessions.sessions,
        cluster=sessions.cluster,
        limits=limits,
        logins=SharedLogins(store=store, brokers=admission.brokers),
        session_log=sessions.session_log,
        refusals=admission.refusals,
        traces=sessions.traces,
        events=sessions.events,
        metrics=admission.metrics,
        overload=Overload(monotonic=time.monotonic, count=admission.metrics.turned_away),
        samples=read_models.samples,
        fleet=operators.fleet,
        api_keys=operators.api_keys,
        resources=operators.resources,
        registrations=admission.registrations,
        dpop=admission.dpop,
        operators=operators.operators,
        device_marks=operators.device_marks,
        budget=operators.budget,
        known_secrets=admission.known_secrets,
        host_check=HostCheck(issuers=basis.issuers, bind_host=settings.bind_address.host),
        worker_queries=read_models.worker_queries,
        api_key_queries=read_models.api_key_queries,
        resource_queries=read_models.resource_queries,
        refusal_queries=read_models.refusal_queries,
        audit_queries=read_models.audit_queries,
        status_queries=read_models.status_queries,
        enrollment_queries=read_models.enrollment_queries,
        alerts=read_models.alerts,
        audit_export=read_models.audit_export,
        event_feed=read_models.event_feed,
        warnings=warnings,
        decisions=sessions.decisions,
        request_failures=FailureLog(get_logger(__name__), REQUEST_FAILED),
    )


async def _build_sessions(basis: _Basis) -> _SessionParts:
    store, clock = basis.store, basis.clock
    # From the log's end as it is now: what the start itself does is logged.
    decisions = DecisionLog(store, after=store.audit_length) if basis.settings.log_decisions else None
    session_log = SessionLog(store=store, clock=clock)
    touched = TouchedWorkers(is_shared=store.is_shared)
    traces = ActivityLog(store=store, seen=await store.read(activity.all_seen_ids))
    returning = ReturningWorkers(clock)
    events = Events()
    handlers = ServerSessionHandlers(
        session_log=session_log,
        decisions=decisions,
        touched=touched,
        activity=traces,
        returning=returning,
        events=events,
        clock=clock,
    )
    sessions = Sessions(now=clock, handlers=handlers)
    if not store.is_shared:
        await store.write(lambda tx: worker_sessions.close_open(tx, end=SessionEnd.SERVER_CRASHED))
        sessions.expect(await store.read(worker_sessions.count_cut_off))
    cluster = Cluster(
        store=store,
        sessions=sessions,
        touched=touched,
        host=socket.gethostname(),
        address=str(basis.settings.bind_address),
        clock=clock,
    )
    return _SessionParts(
        sessions=sessions,
        session_log=session_log,
        cluster=cluster,
        traces=traces,
        returning=returning,
        events=events,
        decisions=decisions,
    )


async def _build_admission(basis: _Basis, parts: _SessionParts) -> _AdmissionParts:
    settings, store, clock, source = basis.settings, basis.store, basis.clock, basis.random_bytes
    directory = Directory(
        await store.read(lambda conn: list(workers.all_workers(conn))),
        await store.read(lambda conn: list(api_keys.all_api_keys(conn))),
        await store.read(lambda conn: list(resources.all_resources(conn))),
        await store.read(lambda conn: revoked_tokens.living(conn, clock())),
    )
    metrics = Metrics(
        online=parts.sessions.count_here,
        workers=directory.worker_count,
        audit_is_intact=lambda: store.audit_is_intact,
    )
    signing_keys = SigningKeys(
        store=store,
        kek=basis.key("signing keys"),
        algorithm=settings.signing_algorithm,
        policy=RotationPolicy(token_ttl=timedelta(seconds=settings.worker_token_ttl_s)),
        clock=clock,
        random_bytes=source,
    )
    await signing_keys.refresh()
    given = (settings.enrollment_key, settings.enrollment_key_previous, settings.secret_key)
    known_secrets = KnownSecrets(secret for secret in given if secret is not None)
    verifier = TokenVerifier(
        directory=directory, signing_keys=signing_keys, issuers=basis.issuers, clock=clock
    )
    nonces = Nonces(key=basis.nonce_key("nonces"), clock=clock, random_bytes=source)
    return _AdmissionParts(
        directory=directory,
        signing_keys=signing_keys,
        admission=Admission(
            directory=directory,
            signing_keys=signing_keys,
            issuer=basis.issuer,
            previous_issuers=basis.previous_issuers,
            token_ttl_s=settings.worker_token_ttl_s,
            clock=clock,
            random_bytes=source,
            spent=SpentAssertions(
                shared=store.is_shared,
                used=basis.kept.assertions if basis.kept is not None else None,
                lost_before=basis.lost_before,
            ),
            nonces=nonces,
        ),
        verifier=verifier,
        brokers=Brokers(directory=directory, verifier=verifier, clock=clock, started_at=basis.started_at),
        enrollment=Enrollment(
            keys=accepted_keys(settings, pepper=basis.key("enrollment fingerprint")),
            name_policy=settings.name_policy,
            issuers=basis.issuers,
            store=store,
            sessions=parts.sessions,
            returning=parts.returning,
            traces=parts.traces,
            clock=clock,
            random_bytes=source,
            nonces=nonces,
            known_secrets=known_secrets,
        ),
        enrollment_limit=EnrollmentLimit(),
        nonces=nonces,
        refusals=RefusalLog(
            store=store,
            metrics=metrics,
            clock=clock,
            random_bytes=source,
            is_worker=lambda worker_id: directory.find_worker(worker_id) is not None,
            secrets=known_secrets.secrets,
        ),
        registrations=Registrations(store=store, directory=directory, clock=clock, random_bytes=source),
        dpop=Dpop(
            key=basis.nonce_key("dpop nonce"),
            clock=clock,
            spent=SpentAssertions(
                max_per_worker=MAX_PROOFS_PER_WORKER,
                shared=store.is_shared,
                used=basis.kept.proofs if basis.kept is not None else None,
                lost_before=basis.lost_before,
            ),
        ),
        metrics=metrics,
        known_secrets=known_secrets,
    )


async def _build_operators(
    basis: _Basis, passwords: Passwords, known_secrets: KnownSecrets
) -> _OperatorParts:
    store, clock, source = basis.store, basis.clock, basis.random_bytes
    lockout = Lockout(
        hide=_hidden(basis.key("names of operators")),
        is_shared=store.is_shared,
        unlocks=await store.read(unlocks_by_name),
    )
    device_marks = DeviceMarks(key=basis.key("device marks"), clock=clock, random_bytes=source)
    budget = OperatorBudget()
    keys = ApiKeys(store=store, known_secrets=known_secrets, clock=clock, random_bytes=source)
    return _OperatorParts(
        operators=Operators(
            store=store,
            passwords=passwords,
            lockout=lockout,
            device_marks=device_marks,
            network_key=basis.key(NETWORK_KEY_PURPOSE),
            budget=budget,
            known_secrets=known_secrets,
            clock=clock,
            random_bytes=source,
        ),
        device_marks=device_marks,
        budget=budget,
        fleet=Fleet(
            store=store, api_keys=keys, known_secrets=known_secrets, clock=clock, random_bytes=source
        ),
        api_keys=keys,
        resources=Resources(
            store=store, issuer=basis.issuer, known_secrets=known_secrets, clock=clock, random_bytes=source
        ),
        lockout=lockout,
    )


def _build_read_models(
    basis: _Basis,
    sessions: _SessionParts,
    admission: _AdmissionParts,
    operators: _OperatorParts,
    warnings: list[str],
) -> _ReadModels:
    store, clock, directory = basis.store, basis.clock, admission.directory
    worker_queries = WorkerQueries(
        directory=directory,
        sessions=sessions.sessions,
        traces=sessions.traces,
        session_log=sessions.session_log,
        store=store,
        clock=clock,
    )
    api_key_queries = ApiKeyQueries(
        directory=directory, sessions=sessions.sessions, traces=sessions.traces, store=store, clock=clock
    )
    refusal_queries = RefusalQueries(store=store, refusals=admission.refusals)
    samples = SampleLog(
        store=store, metrics=admission.metrics, online=sessions.sessions.online_count, clock=clock
    )
    return _ReadModels(
        worker_queries=worker_queries,
        api_key_queries=api_key_queries,
        resource_queries=ResourceQueries(directory=directory),
        refusal_queries=refusal_queries,
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
        alerts=Alerts(
            workers=worker_queries,
            api_keys=api_key_queries,
            refusals=refusal_queries,
            directory=directory,
            signing_keys=admission.signing_keys,
            warnings=warnings,
            clock=clock,
        ),
        audit_export=AuditExport(store=store, operators=operators.operators, budget=operators.budget),
        event_feed=EventFeed(
            events=sessions.events, directory=directory, workers=worker_queries, store=store
        ),
        samples=samples,
    )


def _hidden(key: bytes) -> Callable[[str], str]:
    return lambda name: hmac.digest(key, name.encode("utf-8", "surrogatepass"), "sha256")[:16].hex()
