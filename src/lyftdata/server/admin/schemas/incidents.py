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
    What an incident is about.

    `is_live` says of a key whether it still lets anybody in; null for other subjects. `can_be_revoked` is false for the enrollment key `startup`, which is a
    setting of the Server, and for what is not a key.
    """

    kind: SubjectKind
    name: str
    text: str
    is_live: bool | None
    can_be_revoked: bool


class IncidentWorker(BaseModel):
    """A Worker that belongs to an incident, and why; `hostname` is what it says of itself."""

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

    `valid_until` is when the last of them ends for a service that checks tokens offline, whatever is cut off.
    """

    audience: str
    resource: str | None
    workers: int
    networks: list[str]
    last_at: datetime
    valid_until: datetime


class IncidentStep(BaseModel):
    """
    Something that must be done by hand, because no cut-off does it.

    `subject` names the incident of a key that is concerned, as `GET /api/incident` takes it.
    """

    code: StepCode
    text: str
    subject: str | None


class CutOff(BaseModel):
    """
    A cut-off that was decided: its audit event, and how many of its Workers are still connected.

    `back` is how many have connected again since: after a revoked API key, with another one.
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

    `back_by_key` counts those that are back by the name of the API key that let them in, "" for their own identity key. `disabled` counts those that are
    disabled now, `not_back_ids` names all that are neither connected nor deleted.
    """

    worker_ids: list[str]
    still_connected_ids: list[str]
    back_by_key: dict[str, int]
    not_back_ids: list[str]
    disabled: int


class IncidentReport(BaseModel):
    """
    Which Workers used a key, an address or a host, what tokens they got, and which are connected.

    `workers` are at most 10,000, the connected ones first; `workers_total` is how many there are, `by_reason` for how many of them each
    reason holds. `by_hand` lists what a cut-off does not do. `not_recorded` says what this report cannot show.
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
    Whom to cut off: all Workers of an incident, or those with these IDs, or none (an empty list); and whether the key is revoked.

    `action` is `disable` (they stay out until enabled) or `delete` (a host comes back only as a new Worker).
    """

    subject: Annotated[str, Field(min_length=1, max_length=MAX_SUBJECT_LENGTH)]
    since: Annotated[str, Field(max_length=64)] = ""
    workers: Literal["all"] | Annotated[list[WorkerId], Field(max_length=10_000)]
    action: Action = "disable"
    revoke_key: bool
