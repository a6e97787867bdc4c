"""Models of the Server's status, history and alerts in the admin API."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, Field

from lyftdata.core.snoozing import MAX_SNOOZED_FOR
from lyftdata.server.admin.put_off import MAX_NOTE
from lyftdata.server.admin.schemas.base import Input


class ServerStatus(BaseModel):
    """The Server about itself."""

    version: str
    issuer: str
    started_at: datetime
    enrollment_enabled: bool
    workers: int
    online: int
    warnings: list[str]


class OneServer(BaseModel):
    """One of the Servers that share this state."""

    id: str
    host: str
    address: str
    version: str
    started_at: datetime
    last_heartbeat_at: datetime
    is_this: bool


class Servers(BaseModel):
    """Every Server that shares this state, by when it started."""

    items: list[OneServer]


class Period(StrEnum):
    """How far back a plot goes."""

    HOUR = "hour"
    DAY = "day"
    WEEK = "week"


class HistoryPoint(BaseModel):
    """One step: the most Workers connected at once, and how many attempts were admitted and refused; in the current minute, at this Server."""

    at: datetime
    online: int
    admitted: int
    refused: int


class History(BaseModel):
    """All Servers together over time, the oldest step first; steps in which none ran are left out."""

    period: Period
    since: datetime
    until: datetime
    step_s: int
    points: list[HistoryPoint]


class AlertKind(StrEnum):
    """What an alert is about, and so what its `subject` is."""

    DUPLICATE = "duplicate"
    """A Worker runs twice; `subject` is a refusal's reference."""
    REFUSED = "refused"
    """A Worker is refused again and again; `subject` is a refusal's reference."""
    AGENT_TOO_OLD = "agent_too_old"
    """Workers are refused because their agents are too old for the fleet policy."""
    OTHER_NETWORK = "other_network"
    """A Worker's token was asked for from another network than that of its session; `subject` is the Worker's ID."""
    APPROVAL = "approval"
    """Workers wait for approval."""
    CHANGE_REQUEST = "change_request"
    """A request waits for a second operator; `subject` is its ID."""
    PASSKEY_COPIED = "passkey_copied"
    """An operator's passkey may have been copied; `subject` is the operator's name."""
    SETTING = "setting"
    """A setting of the Server should be changed."""
    KEY_EXPIRES = "key_expires"
    """An API key ends soon; `subject` is its name."""
    KEY_ROTATION = "key_rotation"
    """An older generation of an API key ends soon, and Workers still use it; `subject` is the key's name."""
    INACTIVE = "inactive"
    """Workers with an API key have not been active for long; `subject` is for how long, as `inactive_for` takes it."""
    REPEATED_REGISTRATIONS = "repeated_registrations"
    """A client registers again at each start; `subject` is the name of its registrations, with `*` for what differs."""
    SIGNING_KEY = "signing_key"
    """The signing key is about to change."""
    WORKERS_LOST = "workers_lost"
    """Workers are gone that did not sign off; the overview says so in its first sentence instead."""
    AUDIT_LOG = "audit_log"
    """The audit log was changed or cut."""
    EVENTS_WAIT = "events_wait"
    """Events are not delivered to a destination, which cannot be reached or rejects one; `subject` is its name."""
    EVENTS_PAUSED = "events_paused"
    """A destination of events has been paused for an hour; `subject` is its name."""


class Snoozed(BaseModel):
    """A decision to put off an alert: until when, and who decided it when and why."""

    until: datetime
    at: datetime
    by: str
    note: str


class SnoozeInput(Input):
    """For how long an alert is put off, at most a week, and why."""

    for_s: Annotated[int, Field(gt=0, le=int(MAX_SNOOZED_FOR.total_seconds()))]
    note: Annotated[str, Field(max_length=MAX_NOTE)] = ""


class Alert(BaseModel):
    """
    Something that needs an operator's attention.

    Of refusals, `code` is their cause, and `callers` are those that are refused for it: `worker:ID` or `address:ADDRESS`.
    `key` tells alerts of one kind apart, and stays the same while the cause lasts; it is empty for the line that says how many more there
    are. `worker_id` is the Worker that it is about, if it is one. `requested_by` is the operator who asks for a second operator. `id` names it, and is empty where `key` is; `can_snooze` is whether it can
    be put off, and `snoozed` that it is.
    """

    kind: AlertKind
    subject: str
    title: str
    detail: str = ""
    code: str = ""
    callers: list[str] = []
    key: str = ""
    worker_id: str = ""
    requested_by: str = ""
    id: str = ""
    can_snooze: bool = False
    snoozed: Snoozed | None = None
    # Whom it is about: with one more, it has got worse. Not shown: it may be every Worker.
    about: list[str] = Field(default=[], exclude=True)


class CurrentAlerts(BaseModel):
    """What needs attention, the most urgent first, and the snoozed alerts."""

    items: list[Alert]
    snoozed: list[Alert]
