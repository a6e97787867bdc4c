"""Models of the fleet policy for agent versions in the admin API."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, Field

from lyftdata.core.fleet_policy import MAX_VERSION_LENGTH, VersionStanding
from lyftdata.server.admin.schemas.base import Input, Moment

VersionText = Annotated[str, Field(max_length=MAX_VERSION_LENGTH)]


class FleetPolicyInput(Input):
    """
    A policy to set.

    Agents with a version below `warn_below` are warned. Those below `refuse_below` are warned until `refuse_from` and refused from then
    on; without that time, at once. Versions look like `1.4`; at least one must be given.
    """

    warn_below: VersionText = ""
    refuse_below: VersionText = ""
    refuse_from: Moment | None = None


class FleetPolicy(BaseModel):
    """The policy; a version that is not set is empty."""

    warn_below: str
    refuse_below: str
    refuse_from: datetime | None
    set_at: datetime
    set_by: str


class AffectedWorker(BaseModel):
    """A Worker that the policy warns or refuses; `refused_from` is when it will be refused, if it will be."""

    id: str
    name: str
    version: str
    online: bool
    standing: VersionStanding
    refused_from: datetime | None


class RefusedAgent(BaseModel):
    """
    Agents that the policy refused within the last hour, of Workers whose names differ only in generated parts (`*`).

    `starts` counts starts of their programs, `entries` Worker entries: one that is recreated has a new start, or a new entry, each time.
    Version and host name are those that the last one reported.
    """

    name: str
    worker_id: str
    version: str
    hostname: str
    address: str
    attempts: int
    starts: int
    entries: int
    first_at: datetime
    last_at: datetime


class PolicyEffect(BaseModel):
    """
    The effect of a policy on the Workers that may connect, by the last reported version of each.

    `warned`, `refused`, `current` and `unknown` count them now, `refused_later` counts the warned ones that will be refused.
    `unknown` report no version, or text that is not a version: they are neither warned nor refused. `items` are those that it warns or refuses,
    the lowest versions first, at most `limit` of `total`; `next` is where the list goes on.
    """

    policy: FleetPolicy | None
    warned: int
    refused: int
    refused_later: int
    current: int
    unknown: int
    total: int
    items: list[AffectedWorker]
    next: str | None
    refused_agents: list[RefusedAgent]


class VersionShare(BaseModel):
    """How many Workers have an agent of one version; an empty version stands for those that report none."""

    version: str
    workers: int
    online: int
    standing: VersionStanding


class VersionShares(BaseModel):
    """How many agents there are of each version, the newest first."""

    items: list[VersionShare]


class VersionPeriod(StrEnum):
    """How far back the history of versions goes: a week by the hour, or a quarter or a year by the day."""

    WEEK = "week"
    QUARTER = "quarter"
    YEAR = "year"


class VersionCount(BaseModel):
    """How many Workers had an agent of one version; an empty version stands for those that report none."""

    version: str
    workers: int


class VersionStep(BaseModel):
    """One hour or day: the most common versions, those with the most Workers first, and how many Workers had another one."""

    at: datetime
    versions: list[VersionCount]
    others: int


class VersionHistory(BaseModel):
    """
    How many agents there were of each version over time, the oldest step first.

    Steps in which no Server ran are left out. If the steps are days, the last point may be an hour.
    """

    period: VersionPeriod
    since: datetime
    until: datetime
    step_s: int
    points: list[VersionStep]
