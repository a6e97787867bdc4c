"""
Groups Workers that were lost into outages: one alarm an outage, however many Workers it takes away.

`core.fleet_verdict` decides who counts as lost. An outage begins with a loss that no open outage covers, and covers the losses of the ten minutes that follow. It stays the same
outage when its first Worker is back.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta

import msgspec

COVERS = timedelta(minutes=10)


class Outage(msgspec.Struct, frozen=True):
    """Workers that were lost together and are not back, by ID; `began_at` is the time of the first loss."""

    began_at: datetime
    worker_ids: Sequence[str]


def group_losses(losses: Mapping[str, datetime], *, open_since: Collection[datetime]) -> list[Outage]:
    """
    Return the outages of which Workers are still missing, the earliest first.

    Args:
        losses: When each Worker was lost that is not back.
        open_since: When the outages began of which an alarm was raised already.
    """
    starts = sorted(open_since)
    found: dict[datetime, list[str]] = {}
    for worker_id, at in sorted(losses.items(), key=lambda loss: (loss[1], loss[0])):
        start = next((start for start in starts if start <= at < start + COVERS), None)
        if start is None:
            start = at
            starts.append(at)
        found.setdefault(start, []).append(worker_id)
    return [Outage(start, ids) for start, ids in sorted(found.items())]
