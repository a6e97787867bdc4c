"""
Auto-Enrollment: one shared secret, exchanged once for an identity of the Worker's own (RFC 7591).

  1. The Worker has made a key pair in its own directory before it asks.
  2. It proves that it knows the enrollment key, by a proof bound to its public key and name (or, for clients
     without our library, by the raw secret as RFC 7591's initial access token).
  3. The proof is checked against the current, then the previous secret.
  4. One transaction: the proof is spent, the name is settled, the entry is made, the audit event is written.
  5. Only then is the answer given. The same key asking again gets the same ID: a retry is safe.
"""

import hmac
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

import msgspec

from lyftdata.core.enrollment import EnrollmentKey, VerifiedProof, looks_like_proof, verify_proof
from lyftdata.core.errors import InvalidInputError
from lyftdata.core.identity_keys import PublicIdentityKey, parse_public_jwk
from lyftdata.core.names import generate_worker_id, parse_labels, parse_worker_name
from lyftdata.core.policy import NamePolicy, decide_same_name
from lyftdata.core.records import AuditEvent, Labels, Strategy, WorkerRecord
from lyftdata.core.refusals import (
    EnrollmentDisabledError,
    InvalidRegistrationError,
    NameInUseError,
    ProofNotForKeyError,
    ProofReplayedError,
    RefusedError,
    SupersededError,
    WrongEnrollmentKeyError,
)
from lyftdata.core.secret import Secret
from lyftdata.server.clock import Clock, RandomBytes
from lyftdata.server.sessions import Sessions
from lyftdata.store import Store, WriteTx, presence, proofs, workers

# The agent asks again after 30 seconds at most, and after 45 if it has just begun a request.
_WORKERS_ARE_BACK_WITHIN = timedelta(minutes=2)


class AcceptedKey(msgspec.Struct, frozen=True):
    """An enrollment key that the Server accepts; `role` is `current` or `previous`."""

    role: str
    fingerprint: str
    key: EnrollmentKey
    warnings: list[str]


class Registration(msgspec.Struct, frozen=True):
    """A registration whose every part was checked."""

    name: str
    labels: Labels
    public_key: PublicIdentityKey
    fingerprint: str
    proof: VerifiedProof | None


class Enrollment:
    """Checks enrollment credentials and makes Worker entries."""

    def __init__(
        self,
        *,
        keys: Sequence[AcceptedKey],
        name_policy: NamePolicy,
        issuer: str,
        store: Store,
        sessions: Sessions,
        clock: Clock,
        random_bytes: RandomBytes,
    ) -> None:
        self.keys = keys
        self.name_policy = name_policy
        self.last_used: dict[str, datetime] = {}
        self._issuer = issuer
        self._store = store
        self._sessions = sessions
        self._clock = clock
        self._started_at = clock()
        self._accounted_for: set[str] = set()
        self._random_bytes = random_bytes
        # Checked against when Auto-Enrollment is off, so that "off" costs the same time as "wrong".
        self._nobody_knows = [("", EnrollmentKey(Secret(random_bytes(32).hex())))]

    def check_credential(self, unverified_credential: str) -> tuple[str, VerifiedProof | None]:
        """
        Check the initial access token: a proof, or the raw secret.

        Returns:
            The fingerprint of the enrollment key, and the proof if it was one.

        Raises:
            EnrollmentDisabledError, WrongEnrollmentKeyError, MalformedProofError, ProofExpiredError: As named.
        """
        keys = [(accepted.fingerprint, accepted.key) for accepted in self.keys] or self._nobody_knows
        try:
            if looks_like_proof(unverified_credential):
                proof = verify_proof(
                    unverified_credential, keys=keys, audience=self._issuer, now=self._clock()
                )
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

    def check_request(
        self, fingerprint: str, proof: VerifiedProof | None, metadata: Mapping[str, object]
    ) -> Registration:
        """
        Check the client metadata (RFC 7591, section 2) of a caller that has proved the enrollment key.

        Raises:
            InvalidRegistrationError: Name, labels or public key break a rule.
            ProofNotForKeyError: The proof was made for another name or key.
        """
        try:
            name, labels, public_key = parse_metadata(metadata)
        except InvalidInputError as error:
            claimed = str(metadata.get("client_name", ""))
            raise InvalidRegistrationError(
                f"{error.field}: {error.message}", claimed_worker=claimed
            ) from error
        if proof is not None and not _is_for(proof, name=name, public_key=public_key):
            raise ProofNotForKeyError(
                f"The proof is for the name '{proof.worker_name}'.", claimed_worker=name
            )
        return Registration(name, labels, public_key, fingerprint, proof)

    async def enroll(self, registration: Registration, *, address: str) -> tuple[WorkerRecord, bool]:
        """
        Make the Worker's entry, or find the one that its key already has. Durable when this returns.

        Returns:
            The entry, and whether it was made now.

        Raises:
            ProofReplayedError: The proof was used before.
            NameInUseError: Another Worker holds the name and may still use it.
            SupersededError: The entry of this key has lost its name to another Worker.
        """

        def op(tx: WriteTx) -> tuple[WorkerRecord, bool] | RefusedError:
            self._spend(tx, registration)
            try:
                return self._enroll_in(tx, registration, address)
            except RefusedError as refused:
                # Handed out rather than raised: the proof stays spent. Nothing else was written by then.
                return refused

        outcome = await self._store.write(op)
        if isinstance(outcome, RefusedError):
            raise outcome
        entry, created = outcome
        self.last_used[registration.fingerprint] = self._clock()
        return entry, created

    def _spend(self, tx: WriteTx, registration: Registration) -> None:
        proof = registration.proof
        if proof is not None and not proofs.spend_proof(tx, jti=proof.jti, expires_at=proof.expires_at):
            raise ProofReplayedError(f"jti {proof.jti}", claimed_worker=registration.name)

    def _enroll_in(self, tx: WriteTx, registration: Registration, address: str) -> tuple[WorkerRecord, bool]:
        known = workers.find_by_thumbprint(tx.conn, registration.public_key.thumbprint)
        if known is not None:
            if known.superseded_by is not None:
                raise SupersededError(f"Superseded by {known.superseded_by}.", claimed_worker=known.id)
            return known, False
        fresh = self._new_entry(registration, address)
        self._settle_name(tx, fresh)
        workers.insert_worker(tx, fresh, unique_name=False)
        self.note_left(fresh.id)
        tx.audit(
            self._event(
                "worker.enrolled", fresh, {"name": fresh.name, "enrolled_with": registration.fingerprint}
            )
        )
        return fresh, True

    def _new_entry(self, registration: Registration, address: str) -> WorkerRecord:
        now = self._clock()
        return WorkerRecord(
            id=generate_worker_id(self._random_bytes),
            name=registration.name,
            strategy=Strategy.AUTO_ENROLLMENT,
            labels=registration.labels,
            epoch=first_epoch(now),
            created_at=now,
            created_by=f"enrollment:{registration.fingerprint}",
            public_jwk=registration.public_key.canonical_jwk,
            thumbprint=registration.public_key.thumbprint,
            enrolled_with=registration.fingerprint,
            enrolled_from=address,
        )

    def _settle_name(self, tx: WriteTx, fresh: WorkerRecord) -> None:
        """Same name, another key: never a silent takeover."""
        holder = workers.find_live_by_name(tx.conn, fresh.name)
        if holder is None:
            return
        try:
            verdict = decide_same_name(
                policy=self.name_policy, holder=holder, holder_online=self._may_be_online(tx, holder)
            )
        except NameInUseError as error:
            raise NameInUseError(f"Held by {holder.id}. {error.detail}", claimed_worker=fresh.name) from error
        if verdict == "supersede":
            workers.replace_worker(
                tx, msgspec.structs.replace(holder, superseded_by=fresh.id, epoch=holder.epoch + 1)
            )
            tx.audit(self._event("worker.superseded", holder, {"name": holder.name, "by": fresh.id}))

    def _may_be_online(self, tx: WriteTx, holder: WorkerRecord) -> bool:
        """
        Return whether the holder is connected, or could be if the Server had not just started.

        Where there are several Servers the database says who is connected to any, or awaited from one that is gone.

        At its start a Server has no session at all: a name could be taken from a Worker that is running well and is
        on its way back. So at first everybody may be on the way back who has not left, or come to be, before our
        eyes. What the database says of who was seen when is not asked: a crash loses the last second of it.
        """
        if self._sessions.is_online(holder.id):
            return True
        if self._store.is_shared:
            return presence.find(tx.conn, holder.id) is not None
        is_just_started = self._clock() - self._started_at < _WORKERS_ARE_BACK_WITHIN
        return is_just_started and holder.id not in self._accounted_for

    def note_left(self, worker_id: str) -> None:
        """Note that a Worker has left, or has only come to be: it is not on its way back from before the start."""
        if self._clock() - self._started_at < _WORKERS_ARE_BACK_WITHIN:
            self._accounted_for.add(worker_id)

    def _event(self, action: str, worker: WorkerRecord, details: dict[str, str]) -> AuditEvent:
        return AuditEvent(
            at=self._clock(),
            actor="enrollment",
            action=action,
            subject=f"worker:{worker.id}",
            address=worker.enrolled_from or "",
            details=details,
        )


def first_epoch(now: datetime) -> int:
    """
    Return the epoch a new entry starts with.

    Milliseconds since 1970 rather than 0: an entry that is deleted and made anew under the same ID must not
    bring tokens of its predecessor back to life.
    """
    return int(now.timestamp() * 1000)


def parse_metadata(metadata: Mapping[str, object]) -> tuple[str, Labels, PublicIdentityKey]:
    """
    Read client metadata (RFC 7591, section 2): name, labels and the one public key.

    Raises:
        InvalidInputError: One breaks a rule, or what we would have to ignore was asked for.
    """
    name = parse_worker_name(_text(metadata, "client_name"))
    labels = parse_labels(_labels(metadata))
    public_key = parse_public_jwk(_only_key(metadata))
    _check_metadata(metadata)
    return name, labels, public_key


def _is_for(proof: VerifiedProof, *, name: str, public_key: PublicIdentityKey) -> bool:
    same_key = hmac.compare_digest(proof.thumbprint.encode(), public_key.thumbprint.encode())
    try:
        return same_key and parse_worker_name(proof.worker_name) == name
    except InvalidInputError:
        return False


def _text(metadata: Mapping[str, object], field: str) -> str:
    value = metadata.get(field)
    if not isinstance(value, str):
        raise InvalidInputError(field, "must be given, as a string")
    return value


def _labels(metadata: Mapping[str, object]) -> dict[str, str]:
    value = metadata.get("labels") or {}
    if not isinstance(value, dict) or not all(
        isinstance(item, str) for pair in value.items() for item in pair
    ):
        raise InvalidInputError("labels", "must be an object of strings")
    return value


def _only_key(metadata: Mapping[str, object]) -> Mapping[str, object]:
    jwks = metadata.get("jwks")
    keys = jwks.get("keys") if isinstance(jwks, dict) else None
    if not isinstance(keys, list) or len(keys) != 1 or not isinstance(keys[0], dict):
        raise InvalidInputError("jwks", "must be a JWK Set with exactly one public key")
    return keys[0]


def _check_metadata(metadata: Mapping[str, object]) -> None:
    """Refuse what we would otherwise have to ignore silently: another way to authenticate, another grant."""
    method = metadata.get("token_endpoint_auth_method", "private_key_jwt")
    if method != "private_key_jwt":
        raise InvalidInputError("token_endpoint_auth_method", "must be private_key_jwt")
    grants = metadata.get("grant_types", ["client_credentials"])
    if grants != ["client_credentials"]:
        raise InvalidInputError("grant_types", "must be client_credentials alone")
