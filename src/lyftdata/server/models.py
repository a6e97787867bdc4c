"""The shapes of the admin API, for FastAPI's validation and the OpenAPI document."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr

from lyftdata.core.policy import NamePolicy
from lyftdata.core.records import Role, Status, Strategy

KeyStatus = Literal["live", "expired", "revoked"]
Password = Annotated[SecretStr, Field(max_length=1024)]
Labels = Annotated[dict[str, str], Field(max_length=64)]


class Input(BaseModel):
    """What a caller sends: unknown fields are refused, since a misspelt one would be lost silently."""

    # The rejected input is never repeated in an error: it may be a password in the wrong field.
    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)


class Login(Input):
    """Name and password of an operator."""

    username: Annotated[str, Field(max_length=256)]
    password: Password


class PasswordChange(Input):
    """One's own password: the one in force, and the new one."""

    current_password: Password
    new_password: Password


class NewOperator(Input):
    """An operator to add; without a password a random one is made."""

    name: str
    role: Role
    password: Password | None = None


class OperatorChange(Input):
    """What to change of an operator; `reset_password` makes a random one."""

    role: Role | None = None
    password: Password | None = None
    reset_password: bool = False


class NewWorker(Input):
    """A Worker to add for strategy `api_key`; `api_key` names a key that there is, which it may use too."""

    name: str
    id: str | None = None
    labels: Labels = {}
    issue_key: bool = False
    api_key: Annotated[str | None, Field(max_length=50)] = None


class WorkerChange(Input):
    """What to change of a Worker; what is left out stays."""

    name: str | None = None
    enabled: bool | None = None
    labels: Labels | None = None


class NewApiKey(Input):
    """An API key to issue; `worker_ids` null means every Worker of strategy `api_key`."""

    name: str
    worker_ids: Annotated[list[str], Field(max_length=1000)] | None = None
    expires_in_s: Annotated[int, Field(gt=0, le=3650 * 86400)] | None = None


class Allowance(Input):
    """Workers that may use a key from now on, too."""

    worker_ids: Annotated[list[str], Field(max_length=1000)]


class Rotation(Input):
    """For how many seconds the key being replaced still works."""

    grace_s: Annotated[int, Field(ge=0, le=90 * 86400)] = 0


class Operator(BaseModel):
    """A person who may sign in."""

    name: str
    role: Role
    must_change_password: bool
    created_at: datetime


class SignedIn(BaseModel):
    """A new session; the token is shown here and nowhere else."""

    token: str
    expires_at: datetime
    operator: Operator


class NewOperatorAnswer(BaseModel):
    """An operator just made, and the password if it was made up: shown once."""

    operator: Operator
    password: str | None


class AdminSession(BaseModel):
    """A signed-in session of an operator."""

    id: str
    operator: str
    created_at: datetime
    expires_at: datetime
    address: str
    user_agent: str
    current: bool


class Worker(BaseModel):
    """A Worker entry with its traces; `host` and `reported_labels` are what the Worker says of itself."""

    id: str
    name: str
    strategy: Strategy
    enabled: bool
    status: Status
    labels: dict[str, str]
    last_seen_at: datetime | None
    address: str | None
    enrolled_with: str | None
    enrolled_from: str | None
    api_key: str | None
    created_at: datetime
    created_by: str
    superseded_by: str | None
    thumbprint: str | None
    connected_since: datetime | None
    host: dict[str, str]
    reported_labels: dict[str, str]


class WorkerPage(BaseModel):
    """A page of Workers; `next` goes into `after` for the page behind it."""

    items: list[Worker]
    next: str | None
    total: int


class WorkerSession(BaseModel):
    """
    One session of a Worker; `ended_at` is null while it lasts, and where the Server ended before it could see the end.

    `end` is `signed_off`, `lost`, `started_again`, `server_stopped`, or the code of the refusal that ended it.
    """

    started_at: datetime
    ended_at: datetime | None
    end: str
    is_open: bool
    address: str
    host: dict[str, str]


class WorkerSessions(BaseModel):
    """The last sessions of a Worker, the latest first."""

    items: list[WorkerSession]


class IssuedKey(BaseModel):
    """A key just made: `key` is shown here and nowhere else."""

    name: str
    public_id: str
    key: str


class NewWorkerAnswer(BaseModel):
    """A Worker just made, and its key if one was asked for."""

    worker: Worker
    api_key: IssuedKey | None


class PreviousKey(BaseModel):
    """An older generation of a key that still works."""

    public_id: str
    expires_at: datetime | None


class ApiKey(BaseModel):
    """An API key, without the key: only its digest is kept."""

    name: str
    public_id: str
    generation: int
    for_all_workers: bool
    worker_ids: list[str]
    created_at: datetime
    created_by: str
    expires_at: datetime | None
    revoked_at: datetime | None
    status: KeyStatus
    last_used_at: datetime | None
    last_used_by: str | None
    previous: list[PreviousKey]
    used_by: list[str]


class ApiKeys(BaseModel):
    """Every API key, by name."""

    items: list[ApiKey]


class NewApiKeyAnswer(BaseModel):
    """A key just made: `key` is shown here and nowhere else."""

    api_key: ApiKey
    key: str


class EnrollmentKeyStatus(BaseModel):
    """An enrollment key that the Server accepts, by fingerprint."""

    fingerprint: str
    role: str
    warnings: list[str]
    workers: int
    last_used_at: datetime | None


class EnrollmentStatus(BaseModel):
    """Whether Auto-Enrollment is on, and with which keys."""

    enabled: bool
    name_policy: NamePolicy
    keys: list[EnrollmentKeyStatus]


class RefusalGroup(BaseModel):
    """Refused attempts of one cause, claimed Worker and address."""

    code: str
    claimed_worker: str
    address: str
    count: int
    first_at: datetime
    last_at: datetime
    last_reference: str
    last_detail: str
    meaning: str
    mend: str


class RefusalPage(BaseModel):
    """Groups of refusals, the latest first."""

    items: list[RefusalGroup]


class Refusal(BaseModel):
    """One refused attempt, with the whole reason."""

    reference: str
    code: str
    at: datetime
    address: str
    claimed_worker: str
    detail: str
    proved: bool
    meaning: str
    mend: str


class AuditEvent(BaseModel):
    """A decision about trust, in its place in the chain."""

    number: int
    at: datetime
    actor: str
    action: str
    subject: str
    address: str
    details: dict[str, str]
    hash: str


class AuditPage(BaseModel):
    """Audit events, the latest first; `next` goes into `before` for older ones."""

    items: list[AuditEvent]
    next: int | None


class AuditReport(BaseModel):
    """What checking the chain has shown."""

    ok: bool
    checked: int
    head_number: int
    head_hash: str
    first_bad: int | None
    problem: str


class ServerStatus(BaseModel):
    """The Server about itself."""

    version: str
    issuer: str
    started_at: datetime
    enrollment_enabled: bool
    workers: int
    online: int
    warnings: list[str]


class Period(StrEnum):
    """How far back a plot goes."""

    HOUR = "hour"
    DAY = "day"
    WEEK = "week"


class HistoryPoint(BaseModel):
    """One step: the most Workers connected at once, and how many attempts were let in and turned down."""

    at: datetime
    online: int
    admitted: int
    refused: int


class History(BaseModel):
    """The Server over time, the oldest step first; steps in which it did not run are left out."""

    period: Period
    since: datetime
    until: datetime
    step_s: int
    points: list[HistoryPoint]


class Attention(StrEnum):
    """What a concern is about, and so what its `subject` is."""

    DUPLICATE = "duplicate"
    """A Worker runs twice; `subject` is a refusal's reference."""
    REFUSED = "refused"
    """A Worker is refused again and again; `subject` is a refusal's reference."""
    SETTING = "setting"
    """A setting of the Server should be changed."""
    KEY_EXPIRES = "key_expires"
    """An API key ends soon; `subject` is its name."""
    SIGNING_KEY = "signing_key"
    """The signing key is about to change."""


class Concern(BaseModel):
    """Something that needs an operator's attention."""

    kind: Attention
    subject: str
    title: str
    detail: str = ""


class Concerns(BaseModel):
    """What needs attention, the most pressing first."""

    items: list[Concern]


Selectors = Annotated[list[str], Field(max_length=1000)]


class NewResource(Input):
    """
    A service for which Workers may get tokens, chosen by ID, name or label; for nobody unless some are.

    Names and labels of Workers that enrolled themselves are their own word: `include_enrolled` lets them count.
    """

    name: str
    audience: str
    scopes: Annotated[list[str], Field(max_length=64)] = []
    for_all_workers: bool = False
    include_enrolled: bool = False
    worker_ids: Selectors = []
    worker_names: Selectors = []
    labels: Selectors = []


class ResourceChange(Input):
    """What to change of a resource; what is left out stays."""

    audience: str | None = None
    scopes: Annotated[list[str], Field(max_length=64)] | None = None
    for_all_workers: bool | None = None
    include_enrolled: bool | None = None
    worker_ids: Selectors | None = None
    worker_names: Selectors | None = None
    labels: Selectors | None = None


class Resource(BaseModel):
    """A resource; `workers` is how many Workers may have tokens for it now."""

    name: str
    audience: str
    scopes: list[str]
    for_all_workers: bool
    include_enrolled: bool
    worker_ids: list[str]
    worker_names: list[str]
    labels: list[str]
    workers: int
    has_key: bool
    created_at: datetime
    created_by: str


class Resources(BaseModel):
    """Every resource, by name."""

    items: list[Resource]


class ResourceKey(BaseModel):
    """A resource's key, just made: it is shown here and nowhere else."""

    name: str
    key: str


class Operators(BaseModel):
    """Every operator, by name."""

    items: list[Operator]


class AdminSessions(BaseModel):
    """Open sessions."""

    items: list[AdminSession]


class Problem(BaseModel):
    """What went wrong (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    hint: str | None = None
    field: str | None = None
