"""
Groups lost Workers into outages: one alert for each outage, however many Workers it takes offline.

`core.fleet_verdict` decides which Workers count as lost. An outage begins with a loss that no open outage covers, and covers the losses
of the next ten minutes. It remains the same outage when its first Worker is back.
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
    Return the outages that still have missing Workers, the earliest first.

    Args:
        losses: For each Worker that is not back, by ID, when it was lost.
        open_since: The beginnings of the outages for which an alert is open.
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
