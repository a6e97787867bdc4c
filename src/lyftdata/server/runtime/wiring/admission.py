"""Builds admission: directory, signing keys, token issuer, enrollment, brokers, refusal log."""

from datetime import timedelta

import msgspec

from lyftdata.core.enrollment_limit import EnrollmentLimit
from lyftdata.core.keyring import RotationPolicy
from lyftdata.core.known_secrets import MIN_KNOWN_LENGTH, KnownSecrets
from lyftdata.core.networks import NetworkGroup
from lyftdata.server.admission.approval_queue import HeldRequests
from lyftdata.server.admission.brokers import Brokers
from lyftdata.server.admission.directory import Directory
from lyftdata.server.admission.dpop import MAX_PROOFS_PER_WORKER, Dpop
from lyftdata.server.admission.enrollment import Enrollment
from lyftdata.server.admission.enrollment_credentials import EnrollmentCredentials
from lyftdata.server.admission.identity_copies import IdentityCopies
from lyftdata.server.admission.identity_key_rotation import IdentityKeyRotation
from lyftdata.server.admission.issued_tokens import IssuedTokens
from lyftdata.server.admission.name_claims import NameClaims
from lyftdata.server.admission.nonces import Nonces
from lyftdata.server.admission.origin_watch import OriginWatch
from lyftdata.server.admission.refusal_log import RefusalLog
from lyftdata.server.admission.refused_agents import RefusedAgents
from lyftdata.server.admission.replay import SpentAssertions
from lyftdata.server.admission.self_management import Registrations
from lyftdata.server.admission.signature_counters import SignatureCounters
from lyftdata.server.admission.signing_keys import SigningKeys
from lyftdata.server.admission.token_counts import TokenCounts
from lyftdata.server.admission.token_issuer import Admission
from lyftdata.server.admission.token_origins import TokenOrigins
from lyftdata.server.admission.token_verifier import TokenVerifier
from lyftdata.server.cluster.shared_logins import SharedLogins
from lyftdata.server.metrics import Metrics
from lyftdata.server.runtime.issuer import (
    accepted_keys,
)
from lyftdata.server.runtime.secret_keys import fingerprint_pepper_of, kek_of
from lyftdata.server.runtime.wiring.basis import Basis
from lyftdata.server.runtime.wiring.sessions import SessionParts
from lyftdata.store.tables import (
    api_keys,
    enrollment_keys,
    fleet_policy,
    resources,
    revoked_tokens,
    signature_counters,
    workers,
)


class AdmissionParts(msgspec.Struct, frozen=True, kw_only=True):
    """The parts that decide who is admitted."""

    directory: Directory
    signing_keys: SigningKeys
    admission: Admission
    verifier: TokenVerifier
    brokers: Brokers
    enrollment: Enrollment
    enrollment_limit: EnrollmentLimit
    name_claims: NameClaims
    held_requests: HeldRequests
    nonces: Nonces
    refusals: RefusalLog
    refused_agents: RefusedAgents
    registrations: Registrations
    identity_key_rotation: IdentityKeyRotation
    dpop: Dpop
    token_origins: TokenOrigins
    token_counts: TokenCounts
    origin_watch: OriginWatch
    issued_tokens: IssuedTokens
    metrics: Metrics
    identity_copies: IdentityCopies
    known_secrets: KnownSecrets


async def build_admission(basis: Basis, parts: SessionParts, logins: SharedLogins) -> AdmissionParts:
    """Load the state that admission depends on, and build the parts that use it."""
    settings, store, clock, source = basis.settings, basis.store, basis.clock, basis.random_bytes
    directory = Directory(
        await store.read_tables(lambda conn: list(workers.all_workers(conn))),
        await store.read_tables(lambda conn: list(api_keys.all_api_keys(conn))),
        await store.read(lambda conn: list(resources.all_resources(conn))),
        await store.read(lambda conn: revoked_tokens.list_unexpired(conn, clock())),
        await store.read(lambda conn: list(enrollment_keys.all_enrollment_keys(conn))),
        await store.read(fleet_policy.find_policy),
    )
    metrics = Metrics(
        online=parts.sessions.count_here,
        workers=directory.worker_count,
        pending=lambda: directory.pending().total(),
        audit_is_intact=lambda: store.audit_is_intact and not basis.checkpoints.problem,
        last_checkpoint_at=lambda: basis.checkpoints.latest_at,
        is_writing=store.writer_health.is_writing,
    )
    signing_keys = SigningKeys(
        store=store,
        kek=kek_of(basis.secret_key),
        algorithm=settings.signing_algorithm,
        policy=RotationPolicy(token_ttl=timedelta(seconds=settings.worker_token_ttl_s)),
        clock=clock,
        random_bytes=source,
        keys_withdrawn=parts.sessions.renew_all,
    )
    await signing_keys.refresh()
    given = (
        settings.enrollment_key,
        settings.enrollment_key_previous,
        settings.secret_key,
        settings.secret_key_next,
    )
    secrets = [secret for secret in given if secret is not None]
    if (
        settings.oidc_client_secret is not None
        and len(settings.oidc_client_secret.reveal()) >= MIN_KNOWN_LENGTH
    ):
        secrets.append(settings.oidc_client_secret)
    known_secrets = KnownSecrets(secrets)
    registrations = Registrations(store=store, directory=directory, clock=clock, random_bytes=source)
    verifier = TokenVerifier(
        directory=directory, signing_keys=signing_keys, issuers=basis.issuers, clock=clock
    )
    token_origins, token_counts = TokenOrigins(store=store), TokenCounts(store=store)
    origin_watch = OriginWatch(
        origins=token_origins,
        sessions=parts.sessions,
        own_networks=NetworkGroup(settings.own_networks),
        events=parts.events,
        store=store,
        clock=clock,
    )
    name_claims = NameClaims(
        policy=settings.name_policy,
        store=store,
        sessions=parts.sessions,
        returning=parts.returning,
        clock=clock,
    )
    nonces = Nonces(key=basis.nonce_key("nonces"), clock=clock, random_bytes=source)
    return AdmissionParts(
        directory=directory,
        signing_keys=signing_keys,
        admission=basis.part_types.admission(
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
            counters=SignatureCounters(
                store=store,
                records=()
                if store.is_shared
                else await store.read_tables(lambda conn: list(signature_counters.all_counters(conn))),
            ),
        ),
        verifier=verifier,
        brokers=Brokers(
            directory=directory,
            verifier=verifier,
            signing_keys=signing_keys,
            clock=clock,
            started_at=basis.started_at,
            publish=logins.note if store.is_shared else None,
        ),
        enrollment=basis.part_types.enrollment(
            credentials=EnrollmentCredentials(
                keys=accepted_keys(
                    settings, issuers=basis.issuers, pepper=fingerprint_pepper_of(basis.secret_key)
                ),
                directory=directory,
                issuers=basis.issuers,
                traces=parts.traces,
                clock=clock,
                random_bytes=source,
                nonces=nonces,
            ),
            name_claims=name_claims,
            issuers=basis.issuers,
            store=store,
            returning=parts.returning,
            clock=clock,
            random_bytes=source,
            known_secrets=known_secrets,
        ),
        enrollment_limit=EnrollmentLimit(),
        name_claims=name_claims,
        held_requests=HeldRequests(directory),
        nonces=nonces,
        refused_agents=RefusedAgents(store=store),
        refusals=basis.part_types.refusals(
            store=store,
            metrics=metrics,
            clock=clock,
            random_bytes=source,
            is_worker=lambda worker_id: directory.find_worker(worker_id) is not None,
            secrets=known_secrets.secrets,
        ),
        registrations=registrations,
        identity_key_rotation=IdentityKeyRotation(store=store, registrations=registrations, clock=clock),
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
        token_origins=token_origins,
        token_counts=token_counts,
        origin_watch=origin_watch,
        issued_tokens=IssuedTokens(
            origins=token_origins,
            origin_watch=origin_watch,
            counts=token_counts,
            activity=parts.traces,
            metrics=metrics,
            clock=clock,
        ),
        metrics=metrics,
        identity_copies=IdentityCopies(
            store=store,
            sessions=parts.sessions,
            policy=settings.copy_policy,
            clock=clock,
            known_secrets=known_secrets,
        ),
        known_secrets=known_secrets,
    )
