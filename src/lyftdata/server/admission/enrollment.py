"""
Auto-Enrollment: a Worker exchanges the shared enrollment key, once, for its own identity (RFC 7591).

  1. The Worker has created a key pair in its own directory before its request.
  2. It proves that it knows the enrollment key, by a proof bound to its public key and name (or, for clients
     without our library, by the raw secret as RFC 7591's initial access token).
  3. The proof is checked against the current, then the previous secret.
  4. In one transaction the proof is spent, the name claimed, the entry created and the audit event written.
  5. Only then is the response sent. A repeated request with the same key gets the same ID, so that a retry is safe.

With a key of mode `approve` the entry is created but not valid until an operator or a rule of the key approves it
(`core.standing`). Until then it does not hold its name and supersedes no Worker.

With a key of mode `warn` a Worker is admitted even if its name or network violates the key's rules. It supersedes no Worker: a key
that only warns must not take names that it would not have been allowed.

The enrollment key is checked before the body is parsed, so that a caller without it costs one MAC and no parsing.
"""

import hmac
from collections import Counter
from collections.abc import Mapping, Sequence

import msgspec

from lyftdata.core.client_metadata import ClientMetadata, ClientMetadataError, parse_client_metadata
from lyftdata.core.enrollment import VerifiedProof
from lyftdata.core.enrollment_rules import broken_rules, check_key_in_force, describe, is_approved_by_rule
from lyftdata.core.epochs import first_epoch
from lyftdata.core.errors import InvalidInputError
from lyftdata.core.host_facts import read_host_facts
from lyftdata.core.identity_keys import PublicIdentityKey
from lyftdata.core.known_secrets import KnownSecrets
from lyftdata.core.log_events.server import ENROLLED_AGAINST_RULES
from lyftdata.core.names import generate_worker_id, parse_labels, parse_worker_name
from lyftdata.core.policy import NamePolicy
from lyftdata.core.records import (
    Approval,
    AuditEvent,
    EnrollmentKeyRecord,
    EnrollmentMode,
    Strategy,
    WorkerRecord,
    WorkerTraces,
)
from lyftdata.core.refusals import (
    ApprovalQueueFullError,
    EnrollmentKeyRefusedError,
    EnrollmentKeyUsedUpError,
    InvalidRegistrationError,
    NameInUseError,
    ProofNotForKeyError,
    ProofReplayedError,
    RefusedError,
    SupersededError,
    WrongEnrollmentKeyError,
)
from lyftdata.core.scopes import Scope, scope_of
from lyftdata.core.standing import approval_problem
from lyftdata.core.text import count
from lyftdata.log import emit, get_logger
from lyftdata.server.admission.approval_queue import check_room
from lyftdata.server.admission.enrollment_credentials import AcceptedKey, EnrollmentCredentials, ProvedKey
from lyftdata.server.admission.name_claims import NameClaims
from lyftdata.server.admission.returning import ReturningWorkers
from lyftdata.server.clock import Clock, RandomBytes
from lyftdata.store import Store, WriteTx
from lyftdata.store.tables import activity, enrollment_keys, enrollment_proofs, workers

_log = get_logger(__name__)


class Registration(msgspec.Struct, frozen=True):
    """
    A registration that has been checked completely.

    `broken` are the rules of a key of mode `warn` that it violates, as the refusals that it would otherwise get.
    """

    metadata: ClientMetadata
    proved: ProvedKey
    broken: tuple[EnrollmentKeyRefusedError, ...] = ()

    @property
    def proof(self) -> VerifiedProof | None:
        """Return the proof that was sent; None if the secret itself was sent."""
        return self.proved.proof


Outcome = tuple[WorkerRecord, bool] | RefusedError
"""The entry and whether it was just created, or the refusal."""


class _Names:
    """The entries whose name or key a batch of registrations may share, as seen in the transaction; written at its end."""

    def __init__(self, tx: WriteTx, asked: Sequence[Registration]) -> None:
        self.tx = tx
        self.by_thumbprint = workers.find_by_thumbprints(
            tx.conn, {r.metadata.public_key.thumbprint for r in asked}
        )
        self.by_name = workers.find_live_by_names(tx.conn, {r.metadata.name for r in asked})
        self._added: list[WorkerRecord] = []
        self._hosts: list[WorkerTraces] = []
        self._pending: Counter[str] | None = None

    @property
    def pending(self) -> Counter[str]:
        """Return how many Workers wait for approval, by the fingerprint of their key."""
        if self._pending is None:
            self._pending = Counter(workers.count_pending(self.tx.conn))
        return self._pending

    def add(self, fresh: WorkerRecord) -> None:
        """Add an entry, which holds its name from now on."""
        self._added.append(fresh)
        self.by_name[fresh.name] = fresh
        self.by_thumbprint[str(fresh.thumbprint)] = fresh

    def add_pending(self, fresh: WorkerRecord, *, host: dict[str, str]) -> None:
        """Add an entry that waits for approval and does not hold its name, with what it reports about its host."""
        self._added.append(fresh)
        self.by_thumbprint[str(fresh.thumbprint)] = fresh
        self.pending[str(fresh.enrolled_with)] += 1
        self._hosts.append(WorkerTraces(worker_id=fresh.id, address=fresh.enrolled_from, host=host))

    def replace(self, entry: WorkerRecord) -> None:
        """Replace an entry, even one that was just added."""
        self.write()
        workers.replace_worker(self.tx, entry)
        if entry.thumbprint in self.by_thumbprint:
            self.by_thumbprint[entry.thumbprint] = entry

    def write(self) -> None:
        """Write the added entries."""
        added, self._added = self._added, []
        hosts, self._hosts = self._hosts, []
        workers.insert_fresh(self.tx, added)
        if hosts:
            activity.upsert_traces(self.tx, hosts)


class Enrollment:
    """Checks enrollment credentials and creates Worker entries."""

    def __init__(
        self,
        *,
        credentials: EnrollmentCredentials,
        name_claims: NameClaims,
        issuers: Sequence[str],
        store: Store,
        returning: ReturningWorkers,
        clock: Clock,
        random_bytes: RandomBytes,
        known_secrets: KnownSecrets,
    ) -> None:
        self._credentials = credentials
        self._known_secrets = known_secrets
        self._name_claims = name_claims
        self._issuers = issuers
        self._store = store
        self._clock = clock
        self._returning = returning
        self._random_bytes = random_bytes

    @property
    def name_policy(self) -> NamePolicy:
        """Return what happens if a name is taken."""
        return self._name_claims.policy

    @property
    def keys(self) -> Sequence[AcceptedKey]:
        """Return the enrollment keys of the settings, the current one first."""
        return self._credentials.keys

    def is_enabled(self) -> bool:
        """Return whether any key can enroll Workers."""
        return self._credentials.is_enabled()

    def check_credential(self, unverified_credential: str) -> ProvedKey:
        """Check the initial access token like `EnrollmentCredentials.check`; raises the same."""
        return self._credentials.check(unverified_credential)

    def names_a_key(self, unverified_credential: str) -> bool:
        """See `EnrollmentCredentials.names_a_key`."""
        return self._credentials.names_a_key(unverified_credential)

    def check_request(
        self, proved: ProvedKey, metadata: Mapping[str, object], *, address: str
    ) -> Registration:
        """
        Check the client metadata (RFC 7591, section 2) of a caller that has proved knowledge of the enrollment key.

        Raises:
            InvalidRegistrationError: A member violates a rule, or requests something that this Server does not support.
            ProofNotForKeyError: The proof was made for another name or key.
            EnrollmentKeyRefusedError: The key is not in force, or is not for this network or name.
        """
        proof = proved.proof
        try:
            checked = _with_labels_of(proved, parse_client_metadata(metadata))
            self._check_no_secret(checked)
        except ClientMetadataError as error:
            claimed = str(metadata.get("client_name", ""))
            raise InvalidRegistrationError(
                error.message, error=error.error, claimed_worker=claimed
            ) from error
        # Substitution: an attacker who captures a proof in transit must not be able to enroll another key or name with it.
        if proof is not None and not _is_for(proof, name=checked.name, public_key=checked.public_key):
            raise ProofNotForKeyError(
                f"The proof is for the name '{proof.worker_name}'.", claimed_worker=checked.name
            )
        # Enumeration: last, so that an invalid body gets the same answer whether or not the key is in force.
        return Registration(checked, proved, self._check_rules(proved.issued, address, checked.name))

    def _check_rules(
        self, issued: EnrollmentKeyRecord | None, address: str, name: str
    ) -> tuple[EnrollmentKeyRefusedError, ...]:
        """Check the key's rules; raise for the first violated one or, if the key only warns, return all violated ones."""
        if issued is None:
            return ()
        check_key_in_force(issued, now=self._clock(), claimed_worker=name)
        broken = broken_rules(issued, address=address, worker_name=name)
        if broken and issued.mode is not EnrollmentMode.WARN:
            raise broken[0]
        return broken

    def _check_no_secret(self, metadata: ClientMetadata) -> None:
        """Reject a name or labels that contain, and would display, a secret of this Server; raises ClientMetadataError."""
        try:
            self._known_secrets.check("client_name", metadata.name)
            self._known_secrets.check_labels("labels", metadata.labels or {})
        except InvalidInputError as error:
            raise ClientMetadataError(error.field, error.message) from error

    async def enroll(self, registration: Registration, *, address: str) -> tuple[WorkerRecord, bool]:
        """
        Create the Worker's entry, or find the existing one for its key. Durable when this returns.

        Returns:
            The entry, and whether it was just created.

        Raises:
            ProofReplayedError: The proof was used before.
            NameInUseError: Another Worker holds the name and may still be using it.
            SupersededError: The entry with this key was superseded by another Worker.
            ApprovalDeniedError, ApprovalExpiredError: The entry with this key waited for approval and did not get it.
            ApprovalQueueFullError: Too many Workers are waiting for approval.
            EnrollmentKeyRefusedError: The key may no longer be used, or it only warns and another Worker has the name.
        """
        outcome = await self._store.write_batched(self._enroll_all, (registration, address))
        if isinstance(outcome, RefusedError):
            raise outcome
        entry, created = outcome
        if created and registration.broken:
            _log_warning(entry, registration)
        return entry, created

    def _enroll_all(self, tx: WriteTx, asked: Sequence[tuple[Registration, str]]) -> list[Outcome]:
        """
        Enroll a batch of registrations in order, as if each were alone; runs in the writer's thread.

        Refusals are returned, not raised: raising would roll back, but a refused proof must stay spent (replay).
        """
        # TOCTOU: spent in the transaction that creates the entry. If it were checked before, two Servers could accept the same proof.
        unspent = _spend(tx, [registration.proof for registration, _ in asked if registration.proof])
        names = _Names(tx, [registration for registration, _ in asked])
        outcomes: list[Outcome] = []
        for registration, address in asked:
            try:
                _check_unspent(registration, unspent)
                outcomes.append(self._enroll_one(names, registration, address))
            except RefusedError as refused:
                outcomes.append(refused)
        names.write()
        return outcomes

    def _enroll_one(
        self, names: "_Names", registration: Registration, address: str
    ) -> tuple[WorkerRecord, bool]:
        known = names.by_thumbprint.get(registration.metadata.public_key.thumbprint)
        if known is not None:
            # Name takeover: a superseded Worker that enrolls again must not take the name back, or two hosts would alternate.
            if known.superseded_by is not None:
                raise SupersededError(
                    f"Superseded by {known.superseded_by}.",
                    claimed_worker=known.id,
                    other_worker=known.superseded_by,
                )
            not_approved = approval_problem(known)
            if not_approved is not None and not_approved.cause.final:
                raise not_approved.cause(claimed_worker=known.id)
            # A retry of a Worker whose response was lost: its use was already counted.
            _check_same_binding(registration.metadata, known)
            return known, False
        fresh = self._new_entry(registration, address)
        self._spend_use(names.tx, registration)
        try:
            superseded = self._name_claims.find_superseded(
                names.tx,
                fresh,
                names.by_name.get(fresh.name),
                within=_scope(registration.proved),
                copy_of=registration.metadata.copy_of,
            )
            if superseded is not None and registration.broken:
                # Name takeover: the key's rules also limit the names that it can take.
                raise registration.broken[0]
            if fresh.approval is Approval.PENDING:
                check_room(names.pending, fingerprint=str(fresh.enrolled_with), claimed_worker=fresh.name)
        except (NameInUseError, ApprovalQueueFullError, EnrollmentKeyRefusedError):
            # Checked after the use is spent: a used-up key must not reveal which names are taken.
            _return_use(names.tx, registration)
            raise
        if fresh.approval is Approval.PENDING:
            # Name takeover: the holder of the name is superseded only when an operator approves.
            names.add_pending(
                fresh, host=read_host_facts(registration.metadata.host or {}, self._known_secrets)
            )
        else:
            if superseded is not None:
                self._supersede(names, superseded, fresh)
            names.add(fresh)
        self._returning.mark_accounted_for(fresh.id)
        copied = {} if registration.metadata.copy_of is None else {"copy_of": registration.metadata.copy_of}
        details = {
            "name": fresh.name,
            **_describe_key(registration.proved),
            **_describe_approval(registration, fresh),
            **_describe_broken(registration),
            **copied,
        }
        names.tx.audit(self._event("worker.enrolled", fresh, details))
        return fresh, True

    def _new_entry(self, registration: Registration, address: str) -> WorkerRecord:
        now = self._clock()
        waits = _needs_operator(registration, address)
        return WorkerRecord(
            approval=Approval.PENDING if waits else None,
            approval_since=now if waits else None,
            id=generate_worker_id(self._random_bytes),
            name=registration.metadata.name,
            strategy=Strategy.AUTO_ENROLLMENT,
            labels=registration.metadata.labels or {},
            epoch=first_epoch(now),
            created_at=now,
            created_by=f"enrollment:{registration.proved.fingerprint}",
            public_jwk=registration.metadata.public_key.canonical_jwk,
            thumbprint=registration.metadata.public_key.thumbprint,
            enrolled_with=registration.proved.fingerprint,
            enrolled_from=address,
            dpop_bound=bool(registration.metadata.dpop_bound),
            # A client that sent the raw secret signs for the issuer in the metadata.
            signs_for=self._issuers[0] if registration.proof is None else registration.proof.audience,
            ephemeral=registration.proved.issued is not None and registration.proved.issued.ephemeral,
        )

    def _supersede(self, names: "_Names", holder: WorkerRecord, fresh: WorkerRecord) -> None:
        names.replace(self._name_claims.superseded(holder, by=fresh))
        names.tx.audit(self._event("worker.superseded", holder, {"name": holder.name, "by": fresh.id}))

    def _spend_use(self, tx: WriteTx, registration: Registration) -> None:
        """
        Count one use of an issued key; the database decides, not this Server's memory.

        Raises:
            EnrollmentKeyRefusedError: It has meanwhile been revoked, used up, or has expired.
        """
        issued, name = registration.proved.issued, registration.metadata.name
        if issued is None:
            return
        now, public_id = self._clock(), issued.public_id
        if enrollment_keys.spend_use(tx, public_id, now, is_warned=bool(registration.broken)):
            return
        record = enrollment_keys.find_enrollment_key(tx.conn, public_id)
        if record is None:
            raise WrongEnrollmentKeyError("The key no longer exists.", claimed_worker=name)
        check_key_in_force(record, now=now, claimed_worker=name)
        raise EnrollmentKeyUsedUpError(
            f"{describe(record)} enrolls {count(record.max_uses or 0, 'Worker')}.",
            claimed_worker=name,
            enrollment_key=record.fingerprint,
        )

    def _event(self, action: str, worker: WorkerRecord, details: dict[str, str]) -> AuditEvent:
        return AuditEvent(
            at=self._clock(),
            actor="enrollment",
            action=action,
            subject=f"worker:{worker.id}",
            address=worker.enrolled_from or "",
            details=details,
        )


def _scope(proved: ProvedKey) -> Scope:
    return scope_of(None if proved.issued is None else proved.issued.scope)


def _with_labels_of(proved: ProvedKey, metadata: ClientMetadata) -> ClientMetadata:
    """
    Merge the key's labels into the Worker's, which they override; raises ClientMetadataError.

    With a key issued by an operator with a scope, only its labels count. Privilege escalation: that operator must not assign labels
    by which a resource outside the scope selects Workers, but a Worker that enrolls with the key could request them.
    """
    if proved.issued is not None and proved.issued.scope is not None:
        return msgspec.structs.replace(metadata, labels=dict(proved.issued.labels))
    if proved.issued is None or not proved.issued.labels:
        return metadata
    try:
        labels = parse_labels({**(metadata.labels or {}), **proved.issued.labels})
    except InvalidInputError as error:
        raise ClientMetadataError(
            error.field, f"with those of the enrollment key, {error.message}"
        ) from error
    return msgspec.structs.replace(metadata, labels=labels)


def _describe_key(proved: ProvedKey) -> dict[str, str]:
    """Return the enrollment key of an entry, for the audit log."""
    named = {} if proved.issued is None else {"enrollment_key": proved.issued.name}
    return {"enrolled_with": proved.fingerprint, **named}


def _needs_operator(registration: Registration, address: str) -> bool:
    """Return whether an operator must approve the Worker; keys of the settings need no approval."""
    issued = registration.proved.issued
    if issued is None or issued.mode is not EnrollmentMode.APPROVE:
        return False
    return not is_approved_by_rule(issued, address=address, worker_name=registration.metadata.name)


def _describe_approval(registration: Registration, fresh: WorkerRecord) -> dict[str, str]:
    """Return whether an entry waits for approval, or which rule approved it, for the audit log."""
    if fresh.approval is not None:
        return {"approval": fresh.approval.value, "fingerprint": str(fresh.thumbprint)}
    issued = registration.proved.issued
    return {"approval": "rule"} if issued is not None and issued.mode is EnrollmentMode.APPROVE else {}


def _describe_broken(registration: Registration) -> dict[str, str]:
    """Return what would have refused the Worker if its key did not only warn, for the audit log."""
    return {"would_refuse": _codes_of(registration.broken)} if registration.broken else {}


def _codes_of(refusals: Sequence[RefusedError]) -> str:
    """Return the codes of refusals, separated by commas."""
    return ",".join(refused.code for refused in refusals)


def _log_warning(entry: WorkerRecord, registration: Registration) -> None:
    issued = registration.proved.issued
    emit(
        _log,
        ENROLLED_AGAINST_RULES,
        worker=entry.id,
        name=entry.name,
        address=entry.enrolled_from,
        key="" if issued is None else issued.name,
        codes=_codes_of(registration.broken),
    )


def _spend(tx: WriteTx, presented: Sequence[VerifiedProof]) -> set[str]:
    """Mark proofs as used; return the `jti` of each that was unused before."""
    return enrollment_proofs.spend_proofs(tx, [(proof.jti, proof.expires_at) for proof in presented])


def _return_use(tx: WriteTx, registration: Registration) -> None:
    issued = registration.proved.issued
    if issued is not None:
        enrollment_keys.return_use(tx, issued.public_id, is_warned=bool(registration.broken))


def _check_unspent(registration: Registration, unspent: set[str]) -> None:
    proof = registration.proof
    if proof is None:
        return
    if proof.jti not in unspent:
        raise ProofReplayedError(f"jti {proof.jti}", claimed_worker=registration.metadata.name)
    # Replay within one batch: of two requests with the same proof, only the first is accepted.
    unspent.remove(proof.jti)


def _check_same_binding(metadata: ClientMetadata, known: WorkerRecord) -> None:
    """
    Reject a repeated registration that requests only bound tokens, if the entry does not; raises InvalidRegistrationError.

    Silent downgrade: if this were ignored, the client would believe that its tokens are bound. Denial of service: nor is it changed,
    since others who know the enrollment key may also know the public key, and could lock its Worker out.
    """
    if metadata.dpop_bound and not known.dpop_bound:
        raise InvalidRegistrationError(
            "dpop_bound_access_tokens: this key is registered without it; only the Worker itself can change that (PUT).",
            claimed_worker=known.id,
        )


def _is_for(proof: VerifiedProof, *, name: str, public_key: PublicIdentityKey) -> bool:
    same_key = hmac.compare_digest(proof.thumbprint.encode(), public_key.thumbprint.encode())
    try:
        return same_key and parse_worker_name(proof.worker_name) == name
    except InvalidInputError:
        return False
