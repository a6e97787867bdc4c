"""
Epochs of a Worker entry: tokens and assertions of one epoch are not valid in the next.

An epoch is the time of the entry's last change of this kind (created, disabled, enabled, superseded), in milliseconds since
1970, or one more than the epoch before where the clock has not moved on. So it only grows, and an entry that is deleted and made
again under the same ID does not bring tokens of its predecessor back to life.
"""

from datetime import UTC, datetime

from lyftdata.core.records import WorkerRecord


def first_epoch(created_at: datetime) -> int:
    """Return the epoch that a new entry starts with."""
    return int(created_at.timestamp() * 1000)


def next_epoch(epoch: int, *, now: datetime) -> int:
    """Return the epoch that a change begins."""
    return max(epoch + 1, int(now.timestamp() * 1000))


def changed_at(worker: WorkerRecord) -> datetime | None:
    """Return when the entry was last disabled or enabled; None if it is as it was created."""
    if worker.epoch == first_epoch(worker.created_at):
        return None
    return datetime.fromtimestamp(worker.epoch / 1000, UTC)
