"""
Everything the Server is made of, put together once, opened in one place and closed in reverse order.
"""

import asyncio
import contextlib
import hmac
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec
from sqlalchemy import URL

from lyftdata.core.enrollment import EnrollmentKey
from lyftdata.core.enrollment_limit import EnrollmentLimit
from lyftdata.core.errors import LyftdataError
from lyftdata.core.keyring import RotationPolicy
from lyftdata.core.lockout import Lockout
from lyftdata.core.log_events.server import (
    BACKGROUND_STEP_FAILED,
    BACKGROUND_TASK_FAILED,
    FINAL_FLUSH_FAILED,
    PEER_CHANGE_LOAD_FAILED,
    REQUEST_FAILED,
)
from lyftdata.core.records import SessionEnd
from lyftdata.core.secret import Secret
from lyftdata.log import emit, get_logger
from lyftdata.server.admin.alerts import Alerts
from lyftdata.server.admin.api_key_queries import ApiKeyQueries
from lyftdata.server.admin.api_keys import ApiKeys
from lyftdata.server.admin.audit_export import AuditExport
from lyftdata.server.admin.audit_queries import AuditQueries
from lyftdata.server.admin.audit_watch import AuditWatch
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
from lyftdata.server.admin.secret_strength import assess_key
from lyftdata.server.admin.status_queries import StatusQueries
from lyftdata.server.admin.worker_queries import WorkerQueries
from lyftdata.server.admin.workers import Fleet
from lyftdata.server.admission.brokers import Brokers
from lyftdata.server.admission.directory import Directory
from lyftdata.server.admission.dpop import MAX_PROOFS_PER_WORKER, Dpop
from lyftdata.server.admission.enrollment import AcceptedKey, Enrollment
from lyftdata.server.admission.nonces import Nonces
from lyftdata.server.admission.refusal_log import RefusalLog
from lyftdata.server.admission.replay import SpentAssertions
from lyftdata.server.admission.replay_file import KeptReplays, leave_replays, take_replays
from lyftdata.server.admission.self_management import Registrations
from lyftdata.server.admission.token_issuer import Admission
from lyftdata.server.admission.token_verifier import TokenVerifier
from lyftdata.server.clock import Clock, RandomBytes, random_bytes, utc_now
from lyftdata.server.cluster.change_applier import ChangeApplier, ClusterHandlers
from lyftdata.server.cluster.membership import Cluster
from lyftdata.server.cluster.shared_limits import SharedLimits
from lyftdata.server.cluster.shared_logins import SharedLogins
from lyftdata.server.events import Events
from lyftdata.server.failure_log import FailureLog
from lyftdata.server.http.host_check import HostCheck
from lyftdata.server.http.overload import Overload
from lyftdata.server.known_secrets import KnownSecrets
from lyftdata.server.metrics import Metrics
from lyftdata.server.runtime.data_dir import (
    audit_key_of,
    database_file,
    derive_key,
    load_secret_key,
    prepare_staging_dir,
)
from lyftdata.server.runtime.settings import ServerSettings
from lyftdata.server.runtime.writer_watch import WriterWatch
from lyftdata.server.sessions.activity import ActivityLog
from lyftdata.server.sessions.history import SessionLog
from lyftdata.server.sessions.registry import Session, Sessions
from lyftdata.server.signing_keys import SigningKeys
from lyftdata.store import Store, StoreError, WriteTx
from lyftdata.store.changes import Change
from lyftdata.store.dialects import exposure
from lyftdata.store.tables import (
    activity,
    api_keys,
    enrollment_proofs,
    resources,
    revoked_tokens,
    worker_sessions,
    workers,
)
from lyftdata.store.tables.operators import unlocks_by_name

_log = get_logger(__name__)

_FLUSH_EVERY_S = 1.0
_TIDY_EVERY_S = 30.0
_WATCH_EVERY_S = 1.0
_TELL_EVERY_S = 0.2
_BEAT_EVERY_S = 1.0
_END_LISTENERS_EVERY_S = 0.8
# What `localhost` resolves to; the rest of 127.0.0.0/8 is this machine too, but not by that name.
_LOCALHOST = frozenset({"127.0.0.1", "::1"})


class Services(msgspec.Struct, kw_only=True):
    """The parts, as the routes use them."""

    settings: ServerSettings
    issuer: str
    previous_issuers: tuple[str, ...]
    """Addresses that the Server had before: what was signed for them is still accepted."""
    started_at: datetime
    clock: Clock
    store: Store
    directory: Directory
    signing_keys: SigningKeys
    admission: Admission
    verifier: TokenVerifier
    brokers: Brokers
    enrollment: Enrollment
    enrollment_limit: EnrollmentLimit
    nonces: Nonces
    sessions: Sessions
    cluster: Cluster
    limits: SharedLimits
    logins: SharedLogins
    session_log: SessionLog
    refusals: RefusalLog
    traces: ActivityLog
    events: Events
    metrics: Metrics
    overload: Overload
    samples: SampleLog
    fleet: Fleet
    api_keys: ApiKeys
    resources: Resources
    registrations: Registrations
    dpop: Dpop
    operators: Operators
    device_marks: DeviceMarks
    budget: OperatorBudget
    known_secrets: KnownSecrets
    host_check: HostCheck
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
    warnings: list[str]
    decisions: DecisionLog | None
    """Where decisions go to the log, if they do."""
    request_failures: FailureLog
    """Requests that fail because of the database."""


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
    effects: ChangeApplier | None = None
    beside: set[asyncio.Task[None]] = set()

    def on_change(changes: Sequence[Change]) -> None:
        if effects is not None:
            effects.on_change(changes)

    # Built from its parts: a directory's name may hold what means something in a URL.
    file = URL.create("sqlite", database=str(database_file(settings.staging_dir)))
    url = file if settings.database_url is None else settings.database_url.reveal()
    audit_key = audit_key_of(secret_key)
    store = await asyncio.to_thread(Store.open, url, audit_key=audit_key, on_change=on_change)
    kept: KeptReplays | None = None
    try:
        if not store.is_shared:
            kept = take_replays(settings.staging_dir)
        services = await _assemble(
            settings, store, secret_key, clock, random_source, passwords or Passwords(), kept
        )
        await services.operators.ensure_first(settings.admin_init_password, announce=announce_password)
        effects = ChangeApplier(
            directory=services.directory,
            sessions=services.sessions,
            refusals=services.refusals,
            traces=services.traces,
            events=services.events,
            left=services.enrollment.note_left,
            elsewhere=ClusterHandlers(
                presence=services.cluster.heard,
                signing_keys=lambda: _beside(beside, services.signing_keys.read()),
                told=(services.limits.heard, services.logins.heard),
                missed=services.brokers.has_missed_some,
            ),
            clock=clock,
        )
        services.sessions.on_change = effects.presence_changed
        await services.cluster.learn()
        store.hear()
        await services.cluster.join()
        async with _kept_going(services):
            try:
                yield services
            finally:
                if not store.is_shared:
                    kept = KeptReplays(
                        services.admission.spent.used(),
                        services.dpop.spent.used(),
                        lost_before=services.admission.spent.lost_before,
                    )
        await asyncio.gather(*beside, return_exceptions=True)
    finally:
        if kept is not None:
            leave_replays(settings.staging_dir, kept)
        await store.close()


async def _assemble(  # noqa: PLR0915 - one call after the other, no branches
    settings: ServerSettings,
    store: Store,
    secret_key: bytes,
    clock: Clock,
    random_source: RandomBytes,
    passwords: Passwords,
    kept: KeptReplays | None,
) -> Services:
    issuer = issuer_of(settings)
    previous_issuers = tuple(url for url in settings.previous_public_urls if url != issuer)
    issuers = (issuer, *previous_issuers)
    audit_length = store.audit_length
    directory = Directory(
        await store.read(lambda conn: list(workers.all_workers(conn))),
        await store.read(lambda conn: list(api_keys.all_api_keys(conn))),
        await store.read(lambda conn: list(resources.all_resources(conn))),
        await store.read(lambda conn: revoked_tokens.living(conn, clock())),
    )
    sessions = Sessions(now=clock)
    session_log = SessionLog(store=store, clock=clock)
    if not store.is_shared:
        await store.write(lambda tx: worker_sessions.close_open(tx, end=SessionEnd.SERVER_CRASHED))
        sessions.expect(await store.read(worker_sessions.count_cut_off))
    cluster = Cluster(
        store=store,
        sessions=sessions,
        host=socket.gethostname(),
        address=str(settings.bind_address),
        clock=clock,
    )

    decisions = DecisionLog(store, after=audit_length) if settings.log_decisions else None

    def begun(session: Session) -> None:
        session_log.begun(session)
        if decisions is not None:
            decisions.worker_online(session)

    def ended(session: Session, why: str) -> None:
        # The other Servers first: they must not take it for connected because its end could not be logged.
        cluster.touched(session)
        session_log.ended(session, why)
        if decisions is not None:
            decisions.worker_offline(session, why)

    sessions.on_begin, sessions.on_end, sessions.on_break = begun, ended, cluster.touched
    metrics = Metrics(
        online=sessions.count_here,
        workers=directory.worker_count,
        audit_is_intact=lambda: store.audit_is_intact,
    )
    signing_keys = SigningKeys(
        store=store,
        kek=derive_key(secret_key, purpose="signing keys"),
        algorithm=settings.signing_algorithm,
        policy=RotationPolicy(token_ttl=timedelta(seconds=settings.worker_token_ttl_s)),
        clock=clock,
        random_bytes=random_source,
    )
    await signing_keys.refresh()
    enrollment_keys = accepted_keys(settings, pepper=derive_key(secret_key, purpose="enrollment fingerprint"))
    known_secrets = KnownSecrets(
        secret
        for secret in (settings.enrollment_key, settings.enrollment_key_previous, settings.secret_key)
        if secret is not None
    )
    refusals = RefusalLog(
        store=store,
        metrics=metrics,
        clock=clock,
        random_bytes=random_source,
        is_worker=lambda worker_id: directory.find_worker(worker_id) is not None,
        secrets=known_secrets.secrets,
    )
    registrations = Registrations(store=store, directory=directory, clock=clock, random_bytes=random_source)
    enrollment_limit = EnrollmentLimit()
    lockout = Lockout(
        hide=_hidden(derive_key(secret_key, purpose="names of operators")),
        is_shared=store.is_shared,
        unlocks=await store.read(unlocks_by_name),
    )
    device_marks = DeviceMarks(
        key=derive_key(secret_key, purpose="device marks"), clock=clock, random_bytes=random_source
    )
    limits = SharedLimits(
        store=store,
        limiters={
            "refusals": refusals.limiter,
            "registrations": registrations.limiter,
            "enrollments": enrollment_limit,
        },
        lockout=lockout,
        clock=clock,
    )
    budget = OperatorBudget()
    operators = Operators(
        store=store,
        passwords=passwords,
        lockout=lockout,
        device_marks=device_marks,
        network_key=derive_key(secret_key, purpose=NETWORK_KEY_PURPOSE),
        budget=budget,
        known_secrets=known_secrets,
        clock=clock,
        random_bytes=random_source,
    )
    keys = ApiKeys(store=store, known_secrets=known_secrets, clock=clock, random_bytes=random_source)
    verifier = TokenVerifier(directory=directory, signing_keys=signing_keys, issuers=issuers, clock=clock)
    started_at = clock()
    # With several Servers the database has what was used, and nothing is lost.
    lost_before = None
    if not store.is_shared:
        lost_before = started_at if kept is None else kept.lost_before

    def nonce_key(purpose: str) -> bytes:
        # One Server alone takes a new key at each start: a nonce from before it, and what was signed with that, is void.
        return derive_key(secret_key, purpose=purpose) if store.is_shared else random_source(32)

    nonces = Nonces(key=nonce_key("nonces"), clock=clock, random_bytes=random_source)
    trace_log = ActivityLog(store=store, seen=await store.read(activity.all_seen_ids))
    brokers = Brokers(directory=directory, verifier=verifier, clock=clock, started_at=started_at)
    enrollment = Enrollment(
        keys=enrollment_keys,
        name_policy=settings.name_policy,
        issuers=issuers,
        store=store,
        sessions=sessions,
        traces=trace_log,
        clock=clock,
        random_bytes=random_source,
        nonces=nonces,
        known_secrets=known_secrets,
    )
    events = Events()
    sample_log = SampleLog(store=store, metrics=metrics, online=sessions.online_count, clock=clock)
    warnings = [
        *warnings_of(settings, issuer),
        *_issuer_warnings(directory, issuers),
        *audit_warnings(store),
        *await store.read(exposure.find),
    ]
    worker_queries = WorkerQueries(
        directory=directory,
        sessions=sessions,
        traces=trace_log,
        session_log=session_log,
        store=store,
        clock=clock,
    )
    api_key_queries = ApiKeyQueries(
        directory=directory, sessions=sessions, traces=trace_log, store=store, clock=clock
    )
    refusal_queries = RefusalQueries(store=store, refusals=refusals)
    return Services(
        settings=settings,
        issuer=issuer,
        previous_issuers=previous_issuers,
        started_at=started_at,
        clock=clock,
        store=store,
        directory=directory,
        signing_keys=signing_keys,
        admission=Admission(
            directory=directory,
            signing_keys=signing_keys,
            issuer=issuer,
            previous_issuers=previous_issuers,
            token_ttl_s=settings.worker_token_ttl_s,
            clock=clock,
            random_bytes=random_source,
            spent=SpentAssertions(
                shared=store.is_shared,
                used=kept.assertions if kept is not None else None,
                lost_before=lost_before,
            ),
            nonces=nonces,
        ),
        verifier=verifier,
        brokers=brokers,
        enrollment_limit=enrollment_limit,
        enrollment=enrollment,
        nonces=nonces,
        known_secrets=known_secrets,
        sessions=sessions,
        cluster=cluster,
        limits=limits,
        logins=SharedLogins(store=store, brokers=brokers),
        session_log=session_log,
        refusals=refusals,
        traces=trace_log,
        events=events,
        metrics=metrics,
        overload=Overload(monotonic=time.monotonic, count=metrics.turned_away),
        samples=sample_log,
        fleet=Fleet(
            store=store,
            api_keys=keys,
            known_secrets=known_secrets,
            clock=clock,
            random_bytes=random_source,
        ),
        api_keys=keys,
        registrations=registrations,
        dpop=Dpop(
            key=nonce_key("dpop nonce"),
            clock=clock,
            spent=SpentAssertions(
                max_per_worker=MAX_PROOFS_PER_WORKER,
                shared=store.is_shared,
                used=kept.proofs if kept is not None else None,
                lost_before=lost_before,
            ),
        ),
        resources=Resources(
            store=store,
            issuer=issuer,
            known_secrets=known_secrets,
            clock=clock,
            random_bytes=random_source,
        ),
        operators=operators,
        device_marks=device_marks,
        budget=budget,
        host_check=HostCheck(issuers=issuers, bind_host=settings.bind_address.host),
        worker_queries=worker_queries,
        api_key_queries=api_key_queries,
        resource_queries=ResourceQueries(directory=directory),
        refusal_queries=refusal_queries,
        audit_queries=AuditQueries(store=store),
        status_queries=StatusQueries(
            issuer=issuer,
            started_at=started_at,
            warnings=warnings,
            directory=directory,
            sessions=sessions,
            enrollment=enrollment,
            all_servers=cluster.all_servers,
            sample_log=sample_log,
            store=store,
            clock=clock,
        ),
        enrollment_queries=EnrollmentQueries(
            enrollment=enrollment,
            previous_issuers=previous_issuers,
            directory=directory,
            traces=trace_log,
            store=store,
        ),
        alerts=Alerts(
            workers=worker_queries,
            api_keys=api_key_queries,
            refusals=refusal_queries,
            directory=directory,
            signing_keys=signing_keys,
            warnings=warnings,
            clock=clock,
        ),
        audit_export=AuditExport(store=store, operators=operators, budget=budget),
        event_feed=EventFeed(events=events, directory=directory, workers=worker_queries, store=store),
        decisions=decisions,
        request_failures=FailureLog(_log, REQUEST_FAILED),
        warnings=warnings,
    )


def issuer_of(settings: ServerSettings) -> str:
    """
    Return the Server's issuer: the public URL, or one made from the bind address.

    On this machine alone it is `localhost`, which is also where Workers and the command line look by default: a verifier is
    given the address that a person has seen, and compares it with the issuer exactly.
    """
    if settings.public_url is not None:
        return settings.public_url
    bind = settings.bind_address
    scheme = "https" if settings.tls_cert is not None else "http"
    if bind.is_wildcard():
        bind = msgspec.structs.replace(bind, host=socket.gethostname())
    elif bind.host in _LOCALHOST:
        bind = msgspec.structs.replace(bind, host="localhost")
    return f"{scheme}://{bind}"


def accepted_keys(settings: ServerSettings, *, pepper: bytes) -> list[AcceptedKey]:
    """Return the enrollment keys that the Server accepts, the current one first."""
    given = (("current", settings.enrollment_key), ("previous", settings.enrollment_key_previous))
    return [_accepted(role, secret, pepper) for role, secret in given if secret is not None]


def _accepted(role: str, secret: Secret, pepper: bytes) -> AcceptedKey:
    key = EnrollmentKey(secret)
    weakness = assess_key(secret)
    return AcceptedKey(role, key.fingerprint(pepper), key, [] if weakness is None else [weakness])


def warnings_of(settings: ServerSettings, issuer: str) -> list[str]:
    """Return what an operator should know about these settings, a sentence each."""
    warnings = [*settings.warnings]
    if settings.public_url is None and settings.bind_address.is_wildcard():
        warnings.append(
            f"LYFTDATA_PUBLIC_URL is not set and the Server listens on every interface: it calls itself {issuer}. "
            "Auto-enrolled Workers check that this is the address they were given."
        )
    return warnings


def _issuer_warnings(directory: Directory, issuers: Sequence[str]) -> list[str]:
    """Return a warning for each address that Workers sign for and that the Server does not answer to any more."""
    return [
        f"LYFTDATA_PREVIOUS_PUBLIC_URLS: the issuer was {signed_for} and is {issuers[0]} now; {count} auto-enrolled "
        f"{'Worker signs' if count == 1 else 'Workers sign'} for the old one and will be refused. Add {signed_for} until "
        "they have moved (docs/how-to/move-to-another-address.md)."
        for signed_for, count in directory.count_by_issuer().items()
        if signed_for not in issuers
    ]


def audit_warnings(store: Store) -> list[str]:
    """Return what is wrong with the end of the audit log, a sentence; whether the rest fits, `verify` says."""
    if store.audit_is_sound:
        return []
    return ["The audit log's record of its last event was removed or changed; see: lyftdata audit verify"]


@contextlib.asynccontextmanager
async def _kept_going(services: Services) -> AsyncIterator[None]:
    """Run the routine work beside the requests, and once more at the end."""
    tasks = [
        asyncio.create_task(_every("flush", _FLUSH_EVERY_S, lambda: flush(services))),
        asyncio.create_task(_every("tidy", _TIDY_EVERY_S, lambda: tidy(services))),
        asyncio.create_task(_every("end listeners", _END_LISTENERS_EVERY_S, lambda: end_listeners(services))),
        asyncio.create_task(_every("watch the writer", _WATCH_EVERY_S, WriterWatch(services.store).look)),
        asyncio.create_task(AuditWatch(services.store, services.warnings).run()),
    ]
    if services.store.is_shared:
        tasks += [
            asyncio.create_task(_every("tell", _TELL_EVERY_S, lambda: tell(services))),
            asyncio.create_task(_every("beat", _BEAT_EVERY_S, services.cluster.beat)),
            asyncio.create_task(_every("keep up", _TELL_EVERY_S, services.cluster.keep_up)),
        ]
    if services.decisions is not None:
        tasks.append(asyncio.create_task(_every("log decisions", _FLUSH_EVERY_S, services.decisions.follow)))
    try:
        yield
    finally:
        services.events.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        note_presence(services)
        await _at_the_end("operators", services.operators.aclose())
        await _at_the_end("traces and refusals", flush(services))
        await _at_the_end("that this Server stops", services.cluster.leave())
        if services.decisions is not None:
            await _at_the_end("decisions", services.decisions.follow())


async def _at_the_end(what: str, writing: Awaitable[None]) -> None:
    """Write once more; a database that is gone must not keep a Server from ending in order."""
    try:
        await writing
    except StoreError as error:
        emit(_log, FINAL_FLUSH_FAILED, what=what, problem=str(error))
    except Exception:  # noqa: BLE001 - the other writes are tried all the same
        emit(_log, FINAL_FLUSH_FAILED, exc_info=True, what=what)


async def run_all(*steps: Callable[[], Awaitable[object]]) -> None:
    """
    Do all of several things, even if some fail.

    Raises:
        Exception: What the first of them raised that failed; the others' failures are logged.
    """
    first: Exception | None = None
    for step in steps:
        try:
            await step()
        except Exception as error:  # noqa: BLE001
            # In an outage of the database all of them fail alike, which is said once.
            if first is not None and str(error) != str(first):
                emit(_log, BACKGROUND_STEP_FAILED, step=getattr(step, "__qualname__", ""), problem=str(error))
            first = first or error
    if first is not None:
        raise first


async def flush(services: Services) -> None:
    """Write routine traces and refusals; at most a second of them is ever pending."""
    await run_all(
        services.traces.flush, services.session_log.flush, services.refusals.flush, services.samples.flush
    )


async def end_listeners(services: Services) -> None:
    """End the event streams of sessions that have ended: one look for all of them."""
    listening = services.events.session_ids()
    if listening:
        services.events.end_sessions(await services.operators.ended_sessions(listening))


async def tell(services: Services) -> None:
    """Tell other Servers of sessions that have ended, and of failures."""
    await run_all(services.cluster.flush, services.limits.flush, services.logins.flush)


async def tidy(services: Services) -> None:
    """Rotate signing keys when due, drop what has died."""
    now = services.clock()
    services.admission.spent.forget_idle(now.timestamp())
    services.dpop.spent.forget_idle(now.timestamp())
    note_presence(services)
    services.directory.forget_ended_tokens(now)
    services.brokers.forget_deleted()

    def prune(tx: WriteTx) -> None:
        enrollment_proofs.prune(tx, now)
        revoked_tokens.prune(tx, now)

    # Keys first: they are what tokens need.
    await run_all(services.signing_keys.refresh, lambda: services.store.write(prune), services.cluster.tidy)


def note_presence(services: Services) -> None:
    """Record that every connected Worker was seen just now; a held poll says nothing by itself."""
    for session in services.sessions:
        services.traces.worker_left(session.worker_id, at=services.clock())


def _beside(tasks: set[asyncio.Task[None]], work: Coroutine[Any, Any, None]) -> None:
    """Do something beside, and keep hold of it until it is done."""
    task = asyncio.create_task(_logged(work))
    tasks.add(task)
    task.add_done_callback(tasks.discard)


async def _logged(work: Coroutine[Any, Any, None]) -> None:
    try:
        await work
    except LyftdataError as error:
        emit(_log, PEER_CHANGE_LOAD_FAILED, problem=str(error))
    except Exception:  # noqa: BLE001 - nothing waits for this task to see it
        emit(_log, PEER_CHANGE_LOAD_FAILED, exc_info=True)


def _hidden(key: bytes) -> Callable[[str], str]:
    return lambda name: hmac.digest(key, name.encode("utf-8", "surrogatepass"), "sha256")[:16].hex()


async def _every(name: str, seconds: float, work: Callable[[], Awaitable[None]]) -> None:
    """Do something again and again. A full disk today must not end tomorrow's work: a failure is logged, and it goes on."""
    failures = FailureLog(_log, BACKGROUND_TASK_FAILED)
    while True:
        await asyncio.sleep(seconds)
        try:
            await work()
        except StoreError as error:
            # The writer's watch logs an outage of the database as an error, once for all tasks.
            failures.failed(level="warning", work=name, problem=str(error))
        except LyftdataError as error:
            failures.failed(work=name, problem=str(error))
        except Exception as error:  # noqa: BLE001 - the next round may succeed
            failures.failed(exception=error, work=name)
        else:
            failures.succeeded()
