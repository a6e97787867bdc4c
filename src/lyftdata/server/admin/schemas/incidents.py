"""Models of incidents in the admin API."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, Field

from lyftdata.core.incidents import MAX_SUBJECT_LENGTH, Reason, StepCode, SubjectKind
from lyftdata.core.records import State, Strategy
from lyftdata.server.admin.schemas.base import Input
from lyftdata.server.admin.schemas.workers import TokenOrigin

WorkerId = Annotated[str, Field(min_length=1, max_length=64)]
Action = Literal["disable", "delete"]


class IncidentSubject(BaseModel):
    """
    The subject of an incident.

    `is_live` is whether a key is still accepted; null for other subjects. `can_be_revoked` is false for the enrollment key `startup`, which is a
    setting of the Server, and for subjects that are not keys.
    """

    kind: SubjectKind
    name: str
    text: str
    is_live: bool | None
    can_be_revoked: bool


class IncidentWorker(BaseModel):
    """A Worker that belongs to an incident, and why; `hostname` is what it reports about itself."""

    id: str
    name: str
    strategy: Strategy
    state: State
    reasons: list[Reason]
    connected_since: datetime | None
    address: str | None
    hostname: str | None
    created_at: datetime
    enrolled_from: str | None
    last_token_at: datetime | None
    tokens: list[TokenOrigin]


class IncidentTokens(BaseModel):
    """
    Tokens for one audience that belong to an incident.

    `valid_until` is when the last of them expires for a service that checks tokens offline, whatever is cut off.
    """

    audience: str
    resource: str | None
    workers: int
    networks: list[str]
    last_at: datetime
    valid_until: datetime


class IncidentStep(BaseModel):
    """
    Something that must be done by hand, because a cut-off does not do it.

    `subject` names the incident of an affected key, as `GET /api/incident` takes it.
    """

    code: StepCode
    text: str
    subject: str | None


class CutOff(BaseModel):
    """
    A past cut-off: its audit event, and how many of its Workers are still connected.

    `back` is how many have connected again since: after an API key was revoked, with another one.
    """

    number: int
    at: datetime
    actor: str
    subject: str
    since: datetime | None
    action: str
    key_revoked: bool
    workers: int
    still_connected: int
    back: int


class CutOffProgress(CutOff):
    """
    A cut-off with the IDs of its Workers, and of those that are still connected.

    `back_by_key` counts those that are back by the name of the API key they used, "" for their own identity key. `disabled` counts those that are
    disabled now, `not_back_ids` lists all that are neither connected nor deleted.
    """

    worker_ids: list[str]
    still_connected_ids: list[str]
    back_by_key: dict[str, int]
    not_back_ids: list[str]
    disabled: int


class IncidentReport(BaseModel):
    """
    Which Workers used a key, an address or a host, which tokens they got, and which of them are connected.

    `workers` are at most 10,000, connected ones first; `workers_total` is how many there are, `by_reason` how many of them each
    reason applies to. `by_hand` lists what a cut-off does not do. `not_recorded` says what this report cannot show.
    """

    made_at: datetime
    subject: IncidentSubject
    since: datetime | None
    workers_total: int
    connected: int
    workers: list[IncidentWorker]
    tokens: list[IncidentTokens]
    networks: list[str]
    by_reason: dict[Reason, int]
    by_hand: list[IncidentStep]
    cut_offs: list[CutOff]
    not_recorded: list[str]


class CutOffRequest(Input):
    """
    What to cut off: all Workers of an incident, those with these IDs, or none (an empty list); and whether to revoke the key.

    `action` is `disable` (they are refused until enabled) or `delete` (a host can only come back as a new Worker).
    """

    subject: Annotated[str, Field(min_length=1, max_length=MAX_SUBJECT_LENGTH)]
    since: Annotated[str, Field(max_length=64)] = ""
    workers: Literal["all"] | Annotated[list[WorkerId], Field(max_length=10_000)]
    action: Action = "disable"
    revoke_key: bool
