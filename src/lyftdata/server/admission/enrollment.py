"""
Auto-Enrollment: a Worker exchanges the shared enrollment key, once, for an identity of its own (RFC 7591).

  1. The Worker has made a key pair in its own directory before it asks.
  2. It proves that it knows the enrollment key, by a proof bound to its public key and name (or, for clients
     without our library, by the raw secret as RFC 7591's initial access token).
  3. The proof is checked against the current, then the previous secret.
  4. One transaction: the proof is spent, the name is claimed, the entry is created, the audit event is written.
  5. Only then is the answer sent. The same key asking again gets the same ID: a retry is safe.

The enrollment key is checked before the body is read, so a caller that does not know it costs one MAC and no parsing.
"""

import hmac
from collections.abc import Mapping, Sequence

import msgspec

from lyftdata.core.client_metadata import ClientMetadata, ClientMetadataError, parse_client_metadata
from lyftdata.core.enrollment import VerifiedProof, read_proof, verify_proof
from lyftdata.core.enrollment_secrets import EnrollmentVerifier, generate_enrollment_key, make_verifier
from lyftdata.core.epochs import first_epoch, next_epoch
from lyftdata.core.errors import InvalidInputError
from lyftdata.core.identity_keys import PublicIdentityKey
from lyftdata.core.known_secrets import KnownSecrets
from lyftdata.core.names import generate_worker_id, parse_worker_name
from lyftdata.core.policy import NamePolicy, decide_same_name
from lyftdata.core.records import AuditEvent, Strategy, WorkerRecord
from lyftdata.core.refusals import (
    EnrollmentDisabledError,
    InvalidRegistrationError,
    NameInUseError,
    ProofExpiredError,
    ProofNotForKeyError,
    ProofReplayedError,
    RefusedError,
    SupersededError,
    WrongEnrollmentKeyError,
)
from lyftdata.server.admission.nonces import Nonces
from lyftdata.server.admission.returning import ReturningWorkers
from lyftdata.server.clock import Clock, RandomBytes
from lyftdata.server.sessions.activity import ActivityLog
from lyftdata.server.sessions.registry import Sessions
from lyftdata.store import Store, WriteTx
from lyftdata.store.tables import enrollment_proofs, presence, workers


class AcceptedKey(msgspec.Struct, frozen=True):
    """An enrollment key that the Server accepts; `role` is `current` or `previous`."""

    role: str
    fingerprint: str
    key: EnrollmentVerifier
    warnings: list[str]


class Registration(msgspec.Struct, frozen=True):
    """A registration, every part of which was checked."""

    metadata: ClientMetadata
    fingerprint: str
    proof: VerifiedProof | None


Outcome = tuple[WorkerRecord, bool] | RefusedError
"""The entry and whether it was created now, or the refusal."""


class _Names:
    """The entries whose name or key a batch of registrations may share, as the transaction sees them; written at its end."""

    def __init__(self, tx: WriteTx, asked: Sequence[Registration]) -> None:
        self.tx = tx
        self.by_thumbprint = workers.find_by_thumbprints(
            tx.conn, {r.metadata.public_key.thumbprint for r in asked}
        )
        self.by_name = workers.find_live_by_names(tx.conn, {r.metadata.name for r in asked})
        self._added: list[WorkerRecord] = []

    def add(self, fresh: WorkerRecord) -> None:
        """Add an entry, which holds its name from now on."""
        self._added.append(fresh)
        self.by_name[fresh.name] = fresh
        self.by_thumbprint[str(fresh.thumbprint)] = fresh

    def replace(self, entry: WorkerRecord) -> None:
        """Replace an entry; it may have been added a moment ago."""
        self.write()
        workers.replace_worker(self.tx, entry)
        if entry.thumbprint in self.by_thumbprint:
            self.by_thumbprint[entry.thumbprint] = entry

    def write(self) -> None:
        """Write what was added."""
        added, self._added = self._added, []
        workers.insert_fresh(self.tx, added)


class Enrollment:
    """Checks enrollment credentials and makes Worker entries."""

    def __init__(
        self,
        *,
        keys: Sequence[AcceptedKey],
        name_policy: NamePolicy,
        issuers: Sequence[str],
        store: Store,
        sessions: Sessions,
        returning: ReturningWorkers,
        traces: ActivityLog,
        clock: Clock,
        random_bytes: RandomBytes,
        nonces: Nonces,
        known_secrets: KnownSecrets,
    ) -> None:
        self.keys = keys
        self._known_secrets = known_secrets
        self.name_policy = name_policy
        self._issuers = issuers
        self._store = store
        self._sessions = sessions
        self._traces = traces
        self._clock = clock
        self._returning = returning
        self._random_bytes = random_bytes
        self._nonces = nonces
        # Enumeration by timing: checked against when Auto-Enrollment is off, so that "off" takes as long as "wrong key".
        self._decoy_keys = [("", make_verifier(generate_enrollment_key(random_bytes), audiences=issuers))]

    def check_credential(self, unverified_credential: str) -> tuple[str, VerifiedProof | None]:
        """
        Check the initial access token: a proof, or the raw secret.

        The key counts as used from here on, whatever the result: a host that still has it would be affected by its removal.

        Returns:
            The fingerprint of the enrollment key, and the proof if it was one.

        Raises:
            EnrollmentDisabledError, WrongEnrollmentKeyError, MalformedProofError, ProofExpiredError: As named.
        """
        fingerprint, proof = self._find_proved_key(unverified_credential)
        self._traces.enrollment_key_used(fingerprint, at=self._clock())
        return fingerprint, proof

    def _find_proved_key(self, unverified_credential: str) -> tuple[str, VerifiedProof | None]:
        keys = [(accepted.fingerprint, accepted.key) for accepted in self.keys] or self._decoy_keys
        try:
            unverified_proof = read_proof(unverified_credential)
            if unverified_proof is not None:
                proof = verify_proof(unverified_proof, keys=keys, audiences=self._issuers, now=self._clock())
                self._check_nonce(proof)
                return proof.fingerprint, proof
            matching = [fingerprint for fingerprint, key in keys if key.matches(unverified_credential)]
        except Exception as error:
            if not self.keys:
                raise EnrollmentDisabledError from error
            raise
        if not self.keys:
            raise EnrollmentDisabledError
        if not matching:
            raise WrongEnrollmentKeyError("The raw secret was sent.")
        return matching[0], None

    def _check_nonce(self, proof: VerifiedProof) -> None:
        """
        Refuse a proof that was signed for a time that the Server did not issue.

        Pre-dating: a Worker without a clock may sign for the time of a nonce. Only the Server's own nonces make that time
        trustworthy; otherwise an attacker with brief access to the key could sign proofs for next year.

        Raises:
            ProofExpiredError: Its nonce is not one of the last two minutes.
        """
        if proof.nonce is not None and not self._nonces.is_valid_for_enrollment(proof.nonce):
            raise ProofExpiredError("Its nonce is not of now.", claimed_worker=proof.worker_name)

    def check_request(
        self, fingerprint: str, proof: VerifiedProof | None, metadata: Mapping[str, object]
    ) -> Registration:
        """
        Check the client metadata (RFC 7591, section 2) of a caller that has proved the enrollment key.

        Raises:
            InvalidRegistrationError: A member breaks a rule, or asks for what this Server does not provide.
            ProofNotForKeyError: The proof was made for another name or key.
        """
        try:
            checked = parse_client_metadata(metadata)
            self._check_no_secret(checked)
        except ClientMetadataError as error:
            claimed = str(metadata.get("client_name", ""))
            raise InvalidRegistrationError(
                error.message, error=error.error, claimed_worker=claimed
            ) from error
        # Substitution: who captures a proof in transit must not be able to enroll another key or name with it.
        if proof is not None and not _is_for(proof, name=checked.name, public_key=checked.public_key):
            raise ProofNotForKeyError(
                f"The proof is for the name '{proof.worker_name}'.", claimed_worker=checked.name
            )
        return Registration(checked, fingerprint, proof)

    def _check_no_secret(self, metadata: ClientMetadata) -> None:
        """Refuse a name or labels that contain a secret of this Server, and would show it; raises ClientMetadataError."""
        try:
            self._known_secrets.check("client_name", metadata.name)
            self._known_secrets.check_labels("labels", metadata.labels or {})
        except InvalidInputError as error:
            raise ClientMetadataError(error.field, error.message) from error

    async def enroll(self, registration: Registration, *, address: str) -> tuple[WorkerRecord, bool]:
        """
        Create the Worker's entry, or find the one that its key already has. Durable when this returns.

        Returns:
            The entry, and whether it was created now.

        Raises:
            ProofReplayedError: The proof was used before.
            NameInUseError: Another Worker holds the name and may still use it.
            SupersededError: The entry of this key was superseded by another Worker.
        """
        outcome = await self._store.write_batched(self._enroll_all, (registration, address))
        if isinstance(outcome, RefusedError):
            raise outcome
        entry, created = outcome
        return entry, created

    def _enroll_all(self, tx: WriteTx, asked: Sequence[tuple[Registration, str]]) -> list[Outcome]:
        """
        Enroll a batch of registrations in their order, as if each were alone; in the writer's thread.

        Refusals are returned rather than raised: raising would roll back, and a refused proof must stay spent (replay).
        """
        # TOCTOU: spent in the transaction that creates the entry. Checked before it, two Servers could accept the same proof.
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
            _check_same_binding(registration.metadata, known)
            return known, False
        fresh = self._new_entry(registration, address)
        self._claim_name(names, fresh)
        names.add(fresh)
        self._returning.mark_accounted_for(fresh.id)
        names.tx.audit(
            self._event(
                "worker.enrolled", fresh, {"name": fresh.name, "enrolled_with": registration.fingerprint}
            )
        )
        return fresh, True

    def _new_entry(self, registration: Registration, address: str) -> WorkerRecord:
        now = self._clock()
        return WorkerRecord(
            id=generate_worker_id(self._random_bytes),
            name=registration.metadata.name,
            strategy=Strategy.AUTO_ENROLLMENT,
            labels=registration.metadata.labels or {},
            epoch=first_epoch(now),
            created_at=now,
            created_by=f"enrollment:{registration.fingerprint}",
            public_jwk=registration.metadata.public_key.canonical_jwk,
            thumbprint=registration.metadata.public_key.thumbprint,
            enrolled_with=registration.fingerprint,
            enrolled_from=address,
            dpop_bound=bool(registration.metadata.dpop_bound),
            # A client that sent the raw secret signs for the issuer in the metadata.
            signs_for=self._issuers[0] if registration.proof is None else registration.proof.audience,
        )

    def _claim_name(self, names: "_Names", fresh: WorkerRecord) -> None:
        """Decide what happens if the name is taken by another key; a takeover is never silent. Raises NameInUseError."""
        holder = names.by_name.get(fresh.name)
        if holder is None:
            return
        try:
            verdict = decide_same_name(
                policy=self.name_policy, holder=holder, holder_online=self._may_be_online(names.tx, holder)
            )
        except NameInUseError as error:
            raise NameInUseError(
                f"Held by {holder.id}. {error.detail}", claimed_worker=fresh.name, other_worker=holder.id
            ) from error
        if verdict == "supersede":
            names.replace(
                msgspec.structs.replace(
                    holder, superseded_by=fresh.id, epoch=next_epoch(holder.epoch, now=self._clock())
                )
            )
            names.tx.audit(self._event("worker.superseded", holder, {"name": holder.name, "by": fresh.id}))

    def _may_be_online(self, tx: WriteTx, holder: WorkerRecord) -> bool:
        """
        Return whether the holder is connected, or may be reconnecting after a start of the Server.

        With several Servers the database knows who is connected to any of them, or was to one that is gone.

        Impersonation after a restart: a starting Server has no sessions, and without this an attacker with the enrollment key
        could wait for a restart and take the name of a running Worker. So for the first minutes every Worker may return that was
        not seen to leave, or to enroll, since the start. The stored activity is not used: a crash loses its last second.
        """
        if self._sessions.is_online(holder.id):
            return True
        if self._store.is_shared:
            return presence.find(tx.conn, holder.id) is not None
        return self._returning.may_return(holder.id)

    def _event(self, action: str, worker: WorkerRecord, details: dict[str, str]) -> AuditEvent:
        return AuditEvent(
            at=self._clock(),
            actor="enrollment",
            action=action,
            subject=f"worker:{worker.id}",
            address=worker.enrolled_from or "",
            details=details,
        )


def _spend(tx: WriteTx, presented: Sequence[VerifiedProof]) -> set[str]:
    """Spend proofs; return the `jti` of each that was not used before."""
    return enrollment_proofs.spend_proofs(tx, [(proof.jti, proof.expires_at) for proof in presented])


def _check_unspent(registration: Registration, unspent: set[str]) -> None:
    proof = registration.proof
    if proof is None:
        return
    if proof.jti not in unspent:
        raise ProofReplayedError(f"jti {proof.jti}", claimed_worker=registration.metadata.name)
    # Replay within one batch: of two requests with the same proof, the first uses it.
    unspent.remove(proof.jti)


def _check_same_binding(metadata: ClientMetadata, known: WorkerRecord) -> None:
    """
    Refuse a repeated registration that asks for bound tokens only, if the entry does not; raises InvalidRegistrationError.

    Silent downgrade: ignored, the client would believe that its tokens are bound. Denial of service: nor is it set, since others
    who know the enrollment key may know the public key too, and could lock its Worker out.
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
