"""
Decides whether a Worker and its credential are valid now: one rule for every caller.

Issuing tokens, checking tokens, live sessions, broker connections and the display of keys all use it, so that a revocation
never applies to one of them and not to another. Checks are made in this order; the first problem is reported:

    entry        deleted, superseded, disabled, not approved
    epoch        the entry was disabled or enabled since the credential was used
    API key      gone (or the entry belongs to the other strategy), revoked, rotated away or expired, not for this Worker
    identity key replaced

The entry comes first: what an operator did to a Worker outweighs how it authenticated. A problem may say more than its caller's
client may learn (whether a Worker exists, why it is refused): each caller reduces it to what that client may know.
"""

from __future__ import annotations

from bisect import bisect_left
from enum import StrEnum
from typing import TYPE_CHECKING, Self

from lyftdata.core.records import ApiKeyRecord, Approval, Strategy, WorkerRecord
from lyftdata.core.refusals import (
    ApiKeyExpiredError,
    ApiKeyNotForWorkerError,
    ApiKeyRevokedError,
    ApiKeyRotatedError,
    ApprovalDeniedError,
    ApprovalExpiredError,
    AwaitingApprovalError,
    RefusedError,
    SupersededError,
    TokenRevokedError,
    WorkerDeletedError,
    WorkerDisabledError,
)

if TYPE_CHECKING:
    from datetime import datetime

    # The command line imports this module, but does not need the imports of `tokens`.
    from lyftdata.core.tokens import Credential


class Problem(StrEnum):
    """
    Why a Worker or its credential is refused now: its code, its sentence for operators, and the cause of the refusal.

    The cause is for a connected Worker, which has proved its key, and for a request with an API key. A request with a worker
    token is refused with `TokenRevokedError` and the sentence, whatever the problem is.
    """

    sentence: str
    cause: type[RefusedError]

    def __new__(cls, code: str, sentence: str, cause: type[RefusedError]) -> Self:
        """Create the member as a string: its code."""
        problem = str.__new__(cls, code)
        problem._value_ = code
        problem.sentence = sentence
        problem.cause = cause
        return problem

    WORKER_DELETED = "worker_deleted", "The Worker was deleted.", WorkerDeletedError
    SUPERSEDED = "superseded", "The Worker was superseded.", SupersededError
    WORKER_DISABLED = "worker_disabled", "The Worker is disabled.", WorkerDisabledError
    AWAITING_APPROVAL = "awaiting_approval", "The Worker waits for approval.", AwaitingApprovalError
    APPROVAL_DENIED = "approval_denied", "The Worker was not approved.", ApprovalDeniedError
    APPROVAL_EXPIRED = "approval_expired", "The Worker was not approved in time.", ApprovalExpiredError
    EARLIER_EPOCH = (
        "earlier_epoch",
        "The credential was used before the Worker was last disabled or enabled.",
        WorkerDisabledError,
    )
    API_KEY_GONE = "api_key_gone", "The API key is gone.", ApiKeyRevokedError
    API_KEY_REVOKED = "api_key_revoked", "The API key was revoked.", ApiKeyRevokedError
    API_KEY_ROTATED = (
        "api_key_rotated",
        "The API key was rotated, and this generation has ended.",
        ApiKeyRotatedError,
    )
    API_KEY_EXPIRED = "api_key_expired", "The API key has expired.", ApiKeyExpiredError
    API_KEY_NOT_FOR_WORKER = (
        "api_key_not_for_worker",
        "The API key is no longer for this Worker.",
        ApiKeyNotForWorkerError,
    )
    IDENTITY_KEY_REPLACED = (
        "identity_key_replaced",
        "The Worker's identity key has changed.",
        TokenRevokedError,
    )


def standing_problem(
    worker: WorkerRecord | None, credential: Credential, *, key: ApiKeyRecord | None, now: datetime
) -> Problem | None:
    """
    Return why a credential that a Worker has proved is no longer valid, or None.

    Args:
        worker: The current entry; None if there is none.
        credential: The credential that the Worker has proved, as in its token (`cred`).
        key: The API key with the credential's public id; None if there is none, or it is an identity key.
        now: Aware UTC time.
    """
    problem = entry_problem(worker)
    if worker is None or problem is not None:
        return problem
    # Undone revocation: a stolen token or a live connection from before the entry was disabled must not become valid again when the
    # entry is enabled.
    if credential.epoch != worker.epoch:
        return Problem.EARLIER_EPOCH
    if credential.kind == "jkt":
        # Use after rotation: a token issued for the previous identity key, which may be the stolen one, ends with that key.
        return None if credential.value == worker.thumbprint else Problem.IDENTITY_KEY_REPLACED
    # Confused identity: an entry that was deleted and added again with the other strategy must not accept what an API key proved for
    # its predecessor.
    if worker.strategy is not Strategy.API_KEY:
        return Problem.API_KEY_GONE
    return key_problem(key, worker_id=worker.id, now=now)


def entry_problem(worker: WorkerRecord | None) -> Problem | None:
    """Return why a Worker is refused, whatever credential it has, or None."""
    if worker is None:
        return Problem.WORKER_DELETED
    if worker.superseded_by is not None:
        return Problem.SUPERSEDED
    if not worker.enabled:
        return Problem.WORKER_DISABLED
    return approval_problem(worker)


def approval_problem(worker: WorkerRecord) -> Problem | None:
    """Return why a Worker is not approved, or None; does not check the rest of its entry."""
    match worker.approval:
        case None:
            return None
        case Approval.PENDING:
            return Problem.AWAITING_APPROVAL
        case Approval.EXPIRED:
            return Problem.APPROVAL_EXPIRED
        case _:
            return Problem.APPROVAL_DENIED


def key_problem(key: ApiKeyRecord | None, *, worker_id: str, now: datetime) -> Problem | None:
    """Return why an API key is not valid for this Worker, or None; does not check the Worker's entry."""
    if key is None:
        return Problem.API_KEY_GONE
    return key_end(key, now=now) or (None if is_for(key, worker_id) else Problem.API_KEY_NOT_FOR_WORKER)


def key_end(key: ApiKeyRecord, *, now: datetime) -> Problem | None:
    """Return why an API key is not valid for any Worker, or None."""
    if key.revoked_at is not None:
        return Problem.API_KEY_REVOKED
    # `now >= expires_at` has expired, as for `exp` (RFC 7519, section 4.1.4).
    if key.expires_at is None or now < key.expires_at:
        return None
    return Problem.API_KEY_EXPIRED if key.rotated_at is None else Problem.API_KEY_ROTATED


def is_for(key: ApiKeyRecord, worker_id: str) -> bool:
    """Return whether a key was issued for all Workers, or for this one."""
    if key.for_all_workers:
        return True
    # Binary search: a key may be for thousands of Workers.
    place = bisect_left(key.worker_ids, worker_id)
    return key.worker_ids[place : place + 1] == (worker_id,)
