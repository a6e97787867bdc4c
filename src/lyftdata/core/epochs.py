"""
Epochs of a Worker entry: tokens and assertions of one epoch are not valid in the next.

An epoch is the time of the last change that begins one (created, disabled, enabled, superseded), in milliseconds since 1970, or
the previous epoch plus one if the clock has not moved on. So it only grows.

Attack stopped: reuse of a token from before a revocation. Enabling a disabled entry does not make its old tokens valid, and an
entry that is deleted and added with the same ID does not accept the tokens of its predecessor.
"""

from datetime import UTC, datetime

from lyftdata.core.records import WorkerRecord


def first_epoch(created_at: datetime) -> int:
    """Return the first epoch of a new entry."""
    return int(created_at.timestamp() * 1000)


def next_epoch(epoch: int, *, now: datetime) -> int:
    """Return the epoch that a change begins."""
    # Clock set back: never the same epoch twice, or a token from before the change would be valid after it.
    return max(epoch + 1, int(now.timestamp() * 1000))


def changed_at(worker: WorkerRecord) -> datetime | None:
    """Return when the entry was last disabled or enabled; None if it is as it was created."""
    if worker.epoch == first_epoch(worker.created_at):
        return None
    return datetime.fromtimestamp(worker.epoch / 1000, UTC)
