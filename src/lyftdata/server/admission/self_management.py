"""
Lets a Worker manage its own entry (RFC 7592) and revoke its own tokens (RFC 7009).

A client that enrolled with the raw secret gets a registration access token, which is stored as a digest. The Worker's own worker
token is also accepted to read the entry, and to change it if the token is bound to the Worker's identity key. Neither allows
more than to read the entry, replace its key and remove it.
"""

import hmac
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final

import msgspec

from lyftdata.core.client_metadata import ClientMetadata, ClientMetadataError, parse_client_metadata
from lyftdata.core.encoding import text_digest
from lyftdata.core.errors import ConflictError, LyftdataError
from lyftdata.core.rate_limit import FailureLimiter
from lyftdata.core.records import AuditEvent, Strategy, WorkerRecord
from lyftdata.core.refusals import WrongTokenError
from lyftdata.core.secret import Secret
from lyftdata.core.tokens import TokenClaims
from lyftdata.server.admission.directory import Directory
from lyftdata.server.admission.token_issuer import check_entry
from lyftdata.server.admission.token_verifier import VerifiedWorker
from lyftdata.server.clock import Clock, RandomBytes, random_id
from lyftdata.store import Store, WriteTx
from lyftdata.store.tables import revoked_tokens, workers

_PREFIX = "lyftdata_registration_"
_NO_TOKEN = bytes(32)


class TooManyChangesError(LyftdataError):
    """
    A Worker revokes tokens or changes its key too often.

    Args:
        wait_s: Seconds until the next change is accepted.
    """

    code = "too_many_changes"

    def __init__(self, wait_s: float) -> None:
        super().__init__("Too many changes in a row.")
        self.wait_s: Final = max(1, round(wait_s))


class Registrations:
    """Lets Workers manage their own entries."""

    def __init__(
        self, *, store: Store, directory: Directory, clock: Clock, random_bytes: RandomBytes
    ) -> None:
        self._store = store
        self._directory = directory
        self._clock = clock
        self._random_bytes = random_bytes
        # Resource exhaustion: each is a durable write with an audit event, and no Worker has a reason for many.
        self.limiter = FailureLimiter(burst=20, refill_per_s=1 / 10)

    async def issue_token(self, worker: WorkerRecord) -> Secret:
        """Issue a registration access token; the previous one becomes invalid."""
        token, digest = self._make_token()

        def op(tx: WriteTx) -> None:
            current = workers.get_worker(tx.conn, worker.id)
            workers.replace_worker(tx, msgspec.structs.replace(current, registration_digest=digest))

        await self._store.write(op)
        return token

    def check_token(self, worker_id: str, unverified_token: Secret) -> WorkerRecord:
        """
        Return the entry of a registration access token.

        Raises:
            WrongTokenError: No such Worker, or a wrong token.
            WorkerDisabledError, SupersededError, AwaitingApprovalError, ApprovalDeniedError, ApprovalExpiredError: The token is
             right, but the Worker's entry is not in good standing.
        """
        record = self._directory.find_worker(worker_id)
        kept = _NO_TOKEN if record is None else record.registration_digest or _NO_TOKEN
        # Enumeration and timing oracle: for an unknown Worker, or one without such a token, the comparison is with zeros, in constant time and
        # with the same error. The state of the entry is only checked once the token is verified.
        is_right = hmac.compare_digest(text_digest(unverified_token.reveal()), kept)
        if record is None or not is_right:
            raise WrongTokenError(
                "It is not the Worker's registration access token.", claimed_worker=worker_id
            )
        check_entry(record)
        return record

    def require_own_entry(self, verified: VerifiedWorker, worker_id: str, *, to_change: bool) -> WorkerRecord:
        """
        Return the entry if it is the requested one, and was created by Auto-Enrollment.

        Privilege escalation: every service that the Worker calls sees its bearer tokens, and its COMMAND has one. If they allowed
        changes, a token of 15 minutes would give a thief the Worker's identity for good. So a change requires a token bound to the
        identity key; the caller of this method has already verified possession of that key.

        Raises:
            WrongTokenError: For another Worker; for an entry managed by an operator; or, for a change, not bound to the Worker's key.
        """
        worker = verified.worker
        if worker.id != worker_id or worker.strategy is not Strategy.AUTO_ENROLLMENT:
            raise WrongTokenError(
                "It is not a token of a Worker that enrolled under this ID.", claimed_worker=worker.id
            )
        if to_change and verified.claims.bound_to != worker.thumbprint:
            raise WrongTokenError(
                "To change an entry it must be bound to the Worker's identity key (DPoP).",
                claimed_worker=worker.id,
            )
        return worker

    async def rotate_key(
        self, worker: WorkerRecord, metadata: Mapping[str, object], *, address: str
    ) -> tuple[WorkerRecord, Secret | None]:
        """
        Replace the identity key of a Worker's entry, and set whether it only gets bound tokens (RFC 7592, section 2.2).

        Privilege escalation: name and labels cannot be changed, since grants may select Workers by them.

        Returns:
            The entry, and a new registration access token if it had one.

        Raises:
            ClientMetadataError: The metadata violate a rule, or change something that must not be changed.
            ConflictError: `identity_key_taken`.
            WrongTokenError: The entry has changed since the caller's credential was checked.
            TooManyChangesError: The Worker changes too often.
        """
        checked = _parse_change(worker, metadata)
        key = checked.public_key
        dpop_bound = worker.dpop_bound if checked.dpop_bound is None else checked.dpop_bound
        self.count_change(worker)
        token, digest = self._make_token() if worker.registration_digest else (None, None)

        def op(tx: WriteTx) -> WorkerRecord:
            current = require_unchanged(tx, worker)
            # Identity collision: if two entries had the same key, an assertion would authenticate both.
            holder = workers.find_by_thumbprint(tx.conn, key.thumbprint)
            if holder is not None and holder.id != worker.id:
                raise ConflictError("identity_key_taken", "Another Worker has this key.")
            changed = msgspec.structs.replace(
                current,
                public_jwk=key.canonical_jwk,
                thumbprint=key.thumbprint,
                registration_digest=digest,
                dpop_bound=dpop_bound,
            )
            if changed.thumbprint != current.thumbprint:
                changed = with_key_since(changed, self._clock())
            workers.replace_worker(tx, changed)
            if changed.dpop_bound != current.dpop_bound:
                details = {"dpop_bound": "yes" if dpop_bound else "no"}
                tx.audit(self._event("worker.binding_changed", worker, address, details))
            if changed.thumbprint != current.thumbprint:
                details = {"from": str(current.thumbprint), "to": key.thumbprint}
                tx.audit(self._event("worker.key_rotated", worker, address, details))
            return changed

        return await self._store.write(op), token

    async def retire(self, worker: WorkerRecord, *, address: str) -> None:
        """Remove a Worker's entry at its own request (RFC 7592, section 2.3); raises WrongTokenError like `rotate_key`."""

        def op(tx: WriteTx) -> None:
            require_unchanged(tx, worker)
            workers.delete_worker(tx, worker.id)
            tx.audit(self._event("worker.retired", worker, address, {"name": worker.name}))

        await self._store.write(op)

    async def revoke_token(self, worker: WorkerRecord, claims: TokenClaims, *, address: str) -> None:
        """Revoke one token; durable when this returns; raises TooManyChangesError."""
        if self._directory.is_token_revoked(claims.jti):
            return
        self.count_change(worker)
        expires_at = datetime.fromtimestamp(claims.exp, UTC)

        def op(tx: WriteTx) -> None:
            revoked_tokens.revoke_token(tx, claims.jti, expires_at=expires_at)
            tx.audit(self._event("token.revoked", worker, address, {"jti": claims.jti}))

        await self._store.write(op)

    def count_change(self, worker: WorkerRecord) -> None:
        """Count a change that a Worker makes to its entry; raises TooManyChangesError."""
        wait_s = self.limiter.record_failure(worker.id, self._clock().timestamp())
        if wait_s is not None:
            raise TooManyChangesError(wait_s)

    def _make_token(self) -> tuple[Secret, bytes]:
        token = Secret(_PREFIX + random_id(self._random_bytes) + random_id(self._random_bytes))
        return token, text_digest(token.reveal())

    def _event(self, action: str, worker: WorkerRecord, address: str, details: dict[str, str]) -> AuditEvent:
        return AuditEvent(
            at=self._clock(),
            actor=f"worker:{worker.id}",
            action=action,
            subject=f"worker:{worker.id}",
            address=address,
            details=details,
        )


def with_key_since(worker: WorkerRecord, now: datetime) -> WorkerRecord:
    """Return an entry whose identity key has just changed, with a requested rotation marked as done."""
    return msgspec.structs.replace(
        worker, key_since=now, next_jwk=None, next_thumbprint=None, rotation_asked_at=None
    )


def require_unchanged(tx: WriteTx, worker: WorkerRecord) -> WorkerRecord:
    """
    Return the entry if nothing has changed that the caller's authentication depended on; raises WrongTokenError.

    TOCTOU: between the check in memory and this transaction an operator may have disabled the Worker, perhaps at a peer, or
    another holder of the same credential may have replaced the key. That change was first, and must not be overwritten.
    """
    current = workers.find_worker(tx.conn, worker.id)
    if current is None or _authenticated_state(current) != _authenticated_state(worker):
        raise WrongTokenError("The entry has changed in the meantime.", claimed_worker=worker.id)
    return current


def _authenticated_state(worker: WorkerRecord) -> tuple[object, ...]:
    return (
        worker.epoch,
        worker.enabled,
        worker.approval,
        worker.superseded_by,
        worker.thumbprint,
        worker.registration_digest,
    )


def _parse_change(worker: WorkerRecord, unverified: Mapping[str, object]) -> ClientMetadata:
    """Parse the metadata of a change, and reject changes that a Worker may not make itself; raises ClientMetadataError."""
    if unverified.get("client_id") != worker.id:
        raise ClientMetadataError("client_id", "must be the Worker's own ID")
    metadata = parse_client_metadata(unverified)
    if metadata.name != worker.name:
        raise ClientMetadataError("client_name", "cannot be changed by the Worker itself")
    if metadata.labels is not None and metadata.labels != worker.labels:
        raise ClientMetadataError("labels", "cannot be changed by the Worker itself")
    return metadata
