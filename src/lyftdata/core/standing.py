"""
Whether a Worker and its credential are good now: one rule, for everyone who asks.

Who gets a token, whether a token still counts, whether a connected Worker may stay, whether a broker's connection may, and
how a key is shown all come from here. A credential is looked at in this order; the first problem is the one that is named:

    entry        deleted, superseded, disabled
    epoch        the entry was disabled or enabled since the credential was used
    API key      gone (or the entry belongs to the other strategy), revoked, rotated away or expired, not for this Worker
    identity key replaced

Nothing here knows where the answer goes: each caller turns a problem into what its own reader may learn.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

from lyftdata.core.records import ApiKeyRecord, Strategy, WorkerRecord

if TYPE_CHECKING:
    from datetime import datetime

    # Reading tokens loads what the command line does not need for reading a name.
    from lyftdata.core.tokens import Credential


class Problem(StrEnum):
    """Why a Worker or its credential is not good now."""

    WORKER_DELETED = "worker_deleted"
    SUPERSEDED = "superseded"
    WORKER_DISABLED = "worker_disabled"
    EARLIER_EPOCH = "earlier_epoch"
    API_KEY_GONE = "api_key_gone"
    API_KEY_REVOKED = "api_key_revoked"
    API_KEY_ROTATED = "api_key_rotated"
    API_KEY_EXPIRED = "api_key_expired"
    API_KEY_NOT_FOR_WORKER = "api_key_not_for_worker"
    IDENTITY_KEY_REPLACED = "identity_key_replaced"

    @property
    def sentence(self) -> str:
        """Return it in words, for operators."""
        return _SENTENCES[self]


_SENTENCES = {
    Problem.WORKER_DELETED: "The Worker was deleted.",
    Problem.SUPERSEDED: "The Worker was superseded.",
    Problem.WORKER_DISABLED: "The Worker is disabled.",
    Problem.EARLIER_EPOCH: "The credential was used before the Worker was last disabled or enabled.",
    Problem.API_KEY_GONE: "The API key is gone.",
    Problem.API_KEY_REVOKED: "The API key was revoked.",
    Problem.API_KEY_ROTATED: "The API key was rotated, and this generation has ended.",
    Problem.API_KEY_EXPIRED: "The API key has expired.",
    Problem.API_KEY_NOT_FOR_WORKER: "The API key is no longer for this Worker.",
    Problem.IDENTITY_KEY_REPLACED: "The Worker's identity key has changed.",
}


def standing_problem(
    worker: WorkerRecord | None, credential: Credential, *, key: ApiKeyRecord | None, now: datetime
) -> Problem | None:
    """
    Return why what a Worker has proved is not good any more, or None.

    Args:
        worker: The entry as it is now; None if there is none.
        credential: What the Worker has proved, as its token has it (`cred`).
        key: The API key with the credential's public id; None if there is none, or it is an identity key.
        now: Aware UTC time.
    """
    problem = entry_problem(worker)
    if worker is None or problem is not None:
        return problem
    # A token or connection from before the entry was disabled does not come back to life when it is enabled.
    if credential.epoch != worker.epoch:
        return Problem.EARLIER_EPOCH
    if credential.kind == "jkt":
        return None if credential.value == worker.thumbprint else Problem.IDENTITY_KEY_REPLACED
    # An entry that was deleted and came back by the other strategy does not inherit what an API key has proved.
    if worker.strategy is not Strategy.API_KEY:
        return Problem.API_KEY_GONE
    return key_problem(key, worker_id=worker.id, now=now)


def entry_problem(worker: WorkerRecord | None) -> Problem | None:
    """Return why a Worker may not come in, whatever it has proved, or None."""
    if worker is None:
        return Problem.WORKER_DELETED
    if worker.superseded_by is not None:
        return Problem.SUPERSEDED
    return None if worker.enabled else Problem.WORKER_DISABLED


def key_problem(key: ApiKeyRecord | None, *, worker_id: str, now: datetime) -> Problem | None:
    """Return why an API key is not good for this Worker, or None; the Worker's entry is not looked at."""
    if key is None:
        return Problem.API_KEY_GONE
    return key_end(key, now=now) or (None if is_for(key, worker_id) else Problem.API_KEY_NOT_FOR_WORKER)


def key_end(key: ApiKeyRecord, *, now: datetime) -> Problem | None:
    """Return why an API key is not good for any Worker, or None."""
    if key.revoked_at is not None:
        return Problem.API_KEY_REVOKED
    # The moment itself is too late (as RFC 7519, section 4.1.4, has it for `exp`).
    if key.expires_at is None or now < key.expires_at:
        return None
    return Problem.API_KEY_EXPIRED if key.rotated_at is None else Problem.API_KEY_ROTATED


def is_for(key: ApiKeyRecord, worker_id: str) -> bool:
    """Return whether a key was issued for all Workers, or for this one."""
    return key.for_all_workers or worker_id in key.worker_ids
