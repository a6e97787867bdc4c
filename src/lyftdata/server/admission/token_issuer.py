"""
Authenticates Workers and resources, and issues worker tokens.

API key (RFC 6749, section 4.4, with `client_secret_basic` or `client_secret_post`):
  1. The Worker sends its ID and its key.
  2. The key is split into public id and secret; an unknown id costs the same as a wrong secret.
  3. SHA-256 of the secret is compared with the stored digest in constant time.
  4. The key must not be revoked or expired, and must be for this Worker.
  5. The entry must exist, be of strategy `api_key`, and be enabled.
  6. A token is signed.

Identity key (RFC 7523, `private_key_jwt`): the same, with the signature of an assertion instead of steps 2 to 4.

The credential comes before the entry: what is wrong with an entry is only revealed to a caller that has proved its key. Nothing here
waits (no database, no slow hash), so unproven callers cannot queue up work. The caller records refusals and uses.
"""

import hmac
from collections.abc import Sequence
from datetime import datetime, timedelta

import msgspec

from lyftdata.core.api_keys import parse_api_key, verify_api_key
from lyftdata.core.assertions import LEEWAY_S, UnverifiedAssertion, VerifiedAssertion, verify_assertion
from lyftdata.core.epochs import changed_at
from lyftdata.core.grants import Grant, decide_grant
from lyftdata.core.identity_keys import PublicIdentityKey
from lyftdata.core.records import ApiKeyRecord, ResourceRecord, Strategy, WorkerRecord
from lyftdata.core.refusals import (
    StaleAssertionError,
    SupersededError,
    TokenRevokedError,
    UnknownWorkerError,
    WrongApiKeyError,
    WrongStrategyError,
)
from lyftdata.core.secret import Secret
from lyftdata.core.standing import Problem, entry_problem, standing_problem
from lyftdata.core.tokens import format_credential, mint_worker_token, parse_credential
from lyftdata.server.admission.directory import Directory
from lyftdata.server.admission.nonces import Nonces
from lyftdata.server.admission.replay import SpentAssertions, Ticket
from lyftdata.server.admission.signature_counters import Counted, SignatureCounters
from lyftdata.server.admission.signing_keys import SigningKeys
from lyftdata.server.clock import Clock, RandomBytes, random_id


class Admitted(msgspec.Struct, frozen=True):
    """An authenticated Worker and its credential, which goes into its token (`cred`)."""

    worker: WorkerRecord
    credential: str
    api_key: ApiKeyRecord | None = None
    ticket: Ticket | None = None
    """The assertion, if it must also be spent at every peer."""
    issuer: str | None = None
    """The issuer that the Worker has signed for."""
    completes_rotation: bool = False
    """Whether the credential was the Worker's next identity key, which now replaces the current one."""


class Admission:
    """Checks Workers' credentials against the directory and signs their tokens."""

    def __init__(
        self,
        *,
        directory: Directory,
        signing_keys: SigningKeys,
        issuer: str,
        previous_issuers: Sequence[str] = (),
        token_ttl_s: int,
        clock: Clock,
        random_bytes: RandomBytes,
        spent: SpentAssertions,
        nonces: Nonces,
        counters: SignatureCounters,
    ) -> None:
        self._directory = directory
        self._signing_keys = signing_keys
        self._issuer = issuer
        # RFC 7523, section 3: the audience may be the token endpoint; newer clients use the issuer.
        self._issuers = (issuer, *previous_issuers)
        self._audiences = {
            audience: known for known in self._issuers for audience in (known, f"{known}/oauth2/token")
        }
        self._token_ttl_s = token_ttl_s
        self._clock = clock
        self._random_bytes = random_bytes
        self.spent = spent
        self._nonces = nonces
        self.counters = counters

    def admit_api_key(self, worker_id: str, unverified_key: Secret) -> Admitted:
        """
        Check a Worker ID and an API key.

        Raises:
            RefusedError: With the cause. Enumeration: the key is checked before the Worker is looked up.
        """
        presented = parse_api_key(unverified_key.reveal(), claimed_worker=worker_id)
        record = verify_api_key(
            presented,
            record=self._directory.find_api_key(presented.public_id),
            worker_id=worker_id,
            now=self._clock(),
        )
        worker = self._directory.find_worker(worker_id)
        if worker is None:
            raise UnknownWorkerError(
                lambda: f"API key '{record.name}' is valid, but there is no Worker with this ID.",
                claimed_worker=worker_id,
            )
        # Strategy confusion: an API key, even one for all Workers, never authenticates a Worker that has an identity key.
        if worker.strategy is not Strategy.API_KEY:
            raise WrongStrategyError(
                lambda: f"API key '{record.name}' was sent for an auto-enrolled Worker.",
                claimed_worker=worker_id,
            )
        check_entry(worker)
        return Admitted(worker, format_credential("key", record.public_id, worker.epoch), record)

    def admit_assertion(
        self, worker_id: str, unverified_assertion: UnverifiedAssertion, *, address: str
    ) -> Admitted:
        """
        Check an assertion signed by a Worker's identity key.

        Args:
            worker_id: The Worker ID that the caller claims.
            unverified_assertion: As received.
            address: Where the request came from.

        Raises:
            RefusedError: With the cause. An unknown Worker, or one without an identity key, costs a signature check too.
        """
        now = self._clock()
        worker = self._directory.find_worker(worker_id)
        key = self._directory.find_identity_key(worker_id)
        next_key = self._directory.find_next_key(worker_id)
        # Enumeration by timing: one signature check with either key. Only a caller that knows the next key's thumbprint reaches that key.
        is_next = next_key is not None and unverified_assertion.unsafe_key_id() == next_key.thumbprint
        key = next_key if is_next else key
        try:
            assertion = verify_assertion(
                unverified_assertion,
                key=key,
                worker_id=worker_id,
                audiences=self._audiences.keys(),
                now=now,
            )
        except Exception as error:
            # Enumeration: the cause distinguishes these cases only for operators, after the same signature check; the caller gets one
            # merged refusal. `claimed_worker` is always given: reading it from the assertion would take a time that depends on the
            # assertion's size, and so distinguish the cases.
            if worker is None:
                raise UnknownWorkerError("An assertion was sent for it.", claimed_worker=worker_id) from error
            if key is None:
                raise WrongStrategyError(
                    "A signed assertion was sent for a Worker of strategy api_key.", claimed_worker=worker_id
                ) from error
            raise
        worker, thumbprint = require_worker(worker, worker_id), _thumbprint_of(key)
        if entry_problem(worker) is None:
            # Before it is spent: if a peer may have changed the entry, the same assertion is then checked again.
            self._check_fresh(worker, assertion, now=now)
        # Replay, before the entry's state: a captured assertion must not become usable when a disabled Worker is enabled, so it is
        # spent even if the entry is refused.
        ticket = self.spent.spend(worker_id, assertion, now_s=now.timestamp())
        check_entry(worker)
        # Copied identity, after replay: a request that a proxy sends twice is not a copy.
        both = () if next_key is None else (str(worker.thumbprint), next_key.thumbprint)
        counted = self.counters.count(
            Counted(worker_id, thumbprint, assertion.counter, address, now, rotation=both)
        )
        return Admitted(
            worker,
            format_credential("jkt", thumbprint, worker.epoch),
            ticket=None if ticket is None else msgspec.structs.replace(ticket, counted=counted),
            issuer=self._audiences[assertion.audience],
            completes_rotation=is_next,
        )

    def _check_fresh(self, worker: WorkerRecord, assertion: VerifiedAssertion, *, now: datetime) -> None:
        """
        Reject an assertion that may have been signed before the Worker was last disabled or enabled, or before a crash.

        Withheld assertion: an attacker who captured one must not be able to use it after the Worker was disabled and enabled again, nor
        after a crash lost the record of its use. A nonce shows when it was signed. Without one, its `iat` must show it, by the
        Worker's clock, which may be ahead by the leeway. So a client without nonces is refused for half a minute afterwards.

        Raises:
            StaleAssertionError: It may have been captured earlier, and withheld or used.
        """
        if assertion.nonce is not None:
            if not self._nonces.is_valid_for_assertion(assertion.nonce, worker):
                raise StaleAssertionError(
                    "Its nonce has expired, is not from this Server, or is from an earlier state of the entry.",
                    claimed_worker=worker.id,
                )
            return
        switched_at = changed_at(worker)
        # Denial of service by clock: a clock that was hours ahead then, and is right now, must not lock the Worker out for hours.
        in_force = switched_at is not None and switched_at <= now + timedelta(seconds=LEEWAY_S)
        if switched_at is not None and in_force and assertion.may_predate(switched_at):
            raise StaleAssertionError(
                "It may have been signed before the Worker was last disabled or enabled.",
                claimed_worker=worker.id,
            )
        if self.spent.may_be_unrecorded(worker, assertion.signed_at, leeway_s=LEEWAY_S):
            raise StaleAssertionError(
                "It may have been used before the Server started, after a crash.", claimed_worker=worker.id
            )

    def recheck(self, admitted: Admitted) -> Admitted:
        """
        Return the current state of an admitted Worker, after waiting for peers.

        TOCTOU: while the assertion was spent in the database, an operator may have disabled the Worker or revoked its key. A token
        signed then would be accepted until it expires by services that check offline.

        Raises:
            RefusedError: Its entry or credential is no longer valid.
        """
        worker = require_worker(self._directory.find_worker(admitted.worker.id), admitted.worker.id)
        check_entry(worker)
        check_standing(self._directory, worker.id, admitted.credential, now=self._clock())
        return msgspec.structs.replace(admitted, worker=worker)

    def admit_resource(self, name: str, unverified_key: Secret) -> ResourceRecord | None:
        """
        Check a resource's name and key (RFC 7662, section 2.1).

        Returns:
            None if the key is not a resource's: it may be a Worker's.

        Raises:
            RefusedError: Malformed, or a resource's public id with another secret or name.
        """
        presented = parse_api_key(unverified_key.reveal(), claimed_worker=name)
        record = self._directory.find_resource_by_key(presented.public_id)
        if record is None:
            return None
        # Timing oracle: in constant time. Confused deputy: the key must belong to the named resource, or one service could introspect
        # another one's tokens with its own key.
        is_right = hmac.compare_digest(presented.digest, record.key_digest or b"")
        if not is_right or record.name != name:
            raise WrongApiKeyError(f"Resource '{record.name}'.", claimed_worker=name)
        return record

    def grant(self, worker: WorkerRecord, *, resource: str, scope: str) -> Grant:
        """
        Determine the audience and the scopes of a token (RFC 8707, section 2; RFC 6749, section 3.3).

        Args:
            worker: The authenticated Worker.
            resource: The requested audience. If empty, the scopes decide; without scopes the token is for this Server.
            scope: The parameter `scope`.

        Raises:
            ResourceNotGrantedError: No such resource, or not for this Worker; the two are indistinguishable.
            ScopeNotGrantedError: The resource has no such scope.
            ScopeUnknownError: No resource was named, and none for this Worker has these scopes.
            ScopeAmbiguousError: No resource was named, and several for this Worker have these scopes.
        """
        return decide_grant(worker, self._directory, issuers=self._issuers, resource=resource, scope=scope)

    def mint(self, admitted: Admitted, grant: Grant, *, bound_to: str | None = None) -> str:
        """Sign a worker token (RFC 9068) for an admitted Worker, bound to its DPoP key if it has proved one."""
        return mint_worker_token(
            signer=self._signing_keys.signer,
            issuer=self._issuer,
            audience=grant.audience,
            worker=admitted.worker,
            credential=admitted.credential,
            now=self._clock(),
            ttl_s=self._token_ttl_s,
            jti=random_id(self._random_bytes),
            scope=grant.scope,
            bound_to=bound_to,
        )


def _thumbprint_of(key: PublicIdentityKey | None) -> str:
    return "" if key is None else key.thumbprint


def require_worker(worker: WorkerRecord | None, worker_id: str) -> WorkerRecord:
    """Return an entry that an earlier check has found; raises UnknownWorkerError if it is None after all (default deny)."""
    if worker is None:
        raise UnknownWorkerError(claimed_worker=worker_id)
    return worker


def check_entry(worker: WorkerRecord) -> None:
    """
    Reject an authenticated Worker whose entry is not in good standing.

    Call it only after the credential is verified: these causes confirm that the Worker exists.

    Raises:
        SupersededError: Another Worker superseded it.
        WorkerDisabledError: An operator has disabled it.
    """
    problem = entry_problem(worker)
    if problem is Problem.SUPERSEDED:
        raise SupersededError(
            f"Superseded by {worker.superseded_by}.",
            claimed_worker=worker.id,
            other_worker=worker.superseded_by or "",
        )
    if problem is not None:
        raise problem.cause(claimed_worker=worker.id)


def find_problem(directory: Directory, worker_id: str, credential: str, *, now: datetime) -> Problem | None:
    """Return why a credential (`cred` of a token) is not valid now, according to the directory, or None."""
    proved = parse_credential(credential)
    key = directory.find_api_key(proved.value) if proved.kind == "key" else None
    return standing_problem(directory.find_worker(worker_id), proved, key=key, now=now)


def check_standing(directory: Directory, worker_id: str, credential: str, *, now: datetime) -> WorkerRecord:
    """
    Check that the Worker and the credential of a token are still valid, which its signature cannot show.

    Returns:
        The current entry (its name or labels may have changed since the token was signed).

    Raises:
        TokenRevokedError: Worker deleted, disabled or superseded; credential revoked, expired or no longer for this Worker.
    """
    problem = find_problem(directory, worker_id, credential, now=now)
    if problem is not None:
        raise TokenRevokedError(problem.sentence, claimed_worker=worker_id)
    return require_worker(directory.find_worker(worker_id), worker_id)
