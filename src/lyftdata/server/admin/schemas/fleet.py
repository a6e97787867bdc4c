"""Models of the fleet's state in the admin API."""

from datetime import datetime

from pydantic import BaseModel

from lyftdata.core.fleet_verdict import Level, TraitKind


class CommonTrait(BaseModel):
    """Something that most of the lost Workers have in common and most others do not, with the number of lost Workers that have it."""

    kind: TraitKind
    value: str
    count: int


class Fleet(BaseModel):
    """
    Whether every expected Worker is connected.

    Enabled Workers that were connected within seven days and do not have the label `always=no` are expected. Lost ones went offline within
    the last hour without signing off; `away` signed off, or have been offline for longer; `returning` may still reconnect to a
    Server that was restarted.
    """

    level: Level
    title: str
    detail: str
    at: datetime
    expected: int
    online: int
    lost: int
    returning: int
    away: int
    since: datetime | None
    common: list[CommonTrait]
