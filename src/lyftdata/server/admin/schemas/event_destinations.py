"""Models of event destinations in the admin API."""

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, Field

from lyftdata.core.records import Transport
from lyftdata.server.admin.schemas.base import Input

Patterns = Annotated[list[str], Field(max_length=32)]
Labels = Annotated[list[str], Field(max_length=32)]


class NewEventDestination(Input):
    """
    Where events of the audit log are to be delivered, from now on.

    `events` are types (`worker.enrolled`), groups (`worker.*`) or `*`; none means all. With `labels`, only events about Workers that
    have one of them are delivered. `ca` are certificates (PEM) to trust instead of the system's.
    """

    name: str
    transport: Transport
    url: str = ""
    events: Patterns = Field(default=[])
    labels: Labels = Field(default=[])
    ca: str = ""


class EventDestinationChange(Input):
    """What to change of a destination; what is left out stays."""

    url: str | None = None
    events: Patterns | None = None
    labels: Labels | None = None
    ca: str | None = None
    paused: bool | None = None


class RejectedEvent(BaseModel):
    """
    The event that holds up the others: the receiver got it and did not accept it.

    That was so `times` times from `since` on, the last time with `answer`. After three times it may be skipped.
    """

    number: int
    at: datetime
    type: str
    subject: str
    actor: str
    address: str
    details: dict[str, str]
    times: int
    since: datetime
    answer: str
    may_be_skipped: bool


class EventDestination(BaseModel):
    """
    A destination and how far it has got.

    `url` is shown to admins only, and may hold a secret. `waiting` counts events that are not delivered yet, among the next 10,000 of
    their types; `lost` those that the audit log's retention removed before they were delivered. `file` is the name of the file.
    `skipped` counts events that operators skipped. `failures` are attempts in a row, since `failing_since`. `rejected` is the event that the receiver rejects, if it is one.
    """

    name: str
    transport: Transport
    url: str
    endpoint: str
    file: str
    events: list[str]
    labels: list[str]
    ca: str
    is_paused: bool
    paused_at: datetime | None
    through: int
    waiting: int
    delivered: int
    lost: int
    skipped: int
    failures: int
    failing_since: datetime | None
    rejected: RejectedEvent | None
    last_success_at: datetime | None
    last_error: str
    last_error_at: datetime | None
    next_attempt_at: datetime | None
    previous_secret_until: datetime | None
    created_at: datetime
    created_by: str


class WaitingEvent(BaseModel):
    """An event that is not delivered yet; `number` is that in the audit log, which has the rest of it."""

    number: int
    at: datetime
    type: str
    subject: str
    actor: str


class WaitingType(BaseModel):
    """How many events of a type wait."""

    type: str
    count: int


class EventQueue(BaseModel):
    """
    What waits for a destination.

    `first` and `last` are numbers in the audit log; `since` is when the first event happened. `types` are those that wait, the most
    frequent first; `next` the events that are delivered next, in this order. If `has_more`, more than 10,000 wait, and all but `first`,
    `since` and `next` is about the first 10,000.
    """

    first: int
    last: int
    since: datetime
    has_more: bool
    types: list[WaitingType]
    next: list[WaitingEvent]


class EventDestinationDetails(EventDestination):
    """A destination, and what waits for it: `queue` is null if nothing does."""

    queue: EventQueue | None


class EventDestinations(BaseModel):
    """Every destination, by name."""

    items: list[EventDestination]


class AddedEventDestination(BaseModel):
    """A destination just added; `secret` signs its webhooks, and is shown here and nowhere else."""

    destination: EventDestination
    secret: str | None


class RotateEventSecret(Input):
    """For how many seconds messages are signed with the previous secret too, at most a week."""

    overlap_s: Annotated[int, Field(ge=0, le=604_800)] = 86_400


class EventSecret(BaseModel):
    """A secret just made: it is shown here and nowhere else."""

    name: str
    secret: str
    previous_secret_until: datetime | None


class SkipEvent(Input):
    """The event to skip, by its number in the audit log, and why; it must be the one that the receiver rejects."""

    number: Annotated[int, Field(ge=1)]
    reason: str


class EventTest(BaseModel):
    """What came of a test; `error` is empty if the destination has accepted it."""

    name: str
    delivered: bool
    error: str
