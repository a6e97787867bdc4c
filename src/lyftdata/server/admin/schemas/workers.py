"""Models of Workers and their sessions in the admin API."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, Field

from lyftdata.core.bulk_changes import MAX_BY_SEARCH, BulkAction
from lyftdata.core.name_patterns import MAX_PATTERN
from lyftdata.core.query_words import MAX_LENGTH
from lyftdata.core.records import Approval, CopyDecision, KeyRotation, Status, Strategy
from lyftdata.server.admin.schemas.base import Input, Labels


class NewWorker(Input):
    """A Worker to add for strategy `api_key`; `api_key` names an existing key that it may use too."""

    name: str
    id: str | None = None
    labels: Labels = Field(default={})
    issue_key: bool = False
    api_key: Annotated[str | None, Field(max_length=50)] = None


class NewWorkers(Input):
    """
    Workers to add for strategy `api_key`, at most 500: `press-[01-20]` is press-01 to press-20.

    `ids` is a pattern for the same number of IDs; if it is missing, IDs are generated. `issue_key` issues a new key for `each`, or one that is `shared`
    by all; `api_key` names an existing key that they may use too.
    """

    names: Annotated[str, Field(max_length=MAX_PATTERN)]
    ids: Annotated[str | None, Field(max_length=MAX_PATTERN)] = None
    labels: Labels = Field(default={})
    issue_key: Literal["each", "shared"] | None = None
    api_key: Annotated[str | None, Field(max_length=50)] = None


class WorkerChange(Input):
    """
    What to change of a Worker; omitted fields stay the same.

    `disabled_note` is for other operators. `disabled_until` is when the Server enables the Worker automatically: a time such as `2026-03-01T12:00Z`, or a
    duration from now, such as `2h`. An empty text removes either. `enabled: false` without `disabled_until` disables without an end, even a Worker that had one.
    """

    name: str | None = None
    enabled: bool | None = None
    disabled_note: Annotated[str | None, Field(max_length=1000)] = None
    disabled_until: Annotated[str | None, Field(max_length=64)] = None
    labels: Labels | None = None


class KeyRotationWanted(Input):
    """Which Workers must rotate their identity key: those named, or all that have one."""

    ids: Annotated[list[str], Field(max_length=1000)] = Field(default=[])
    all: bool = False


class KeyRotationAsked(BaseModel):
    """The Workers that were asked to rotate their identity key; those without one and superseded ones were not."""

    asked: int
    ids: list[str]


class IdentityCopy(BaseModel):
    """
    A directory that was refused as a copy of a Worker's identity, or as an older state of it.

    `host` and `address` are those of the refused directory, `other_host` and `other_address` those of the last signature that was accepted.
    `decision` is `continue` (it continues as the Worker), `as_new` (it enrolls as a new Worker), or null if it is undecided;
    `decided_by` is `operator:NAME`, or `server:policy` (LYFTDATA_IDENTITY_COPY_POLICY).
    """

    reference: str
    found_at: datetime
    last_at: datetime
    host: str
    address: str
    other_host: str
    other_address: str
    decision: CopyDecision | None
    decided_at: datetime | None
    decided_by: str | None


class IdentityCopies(BaseModel):
    """The copies of a Worker's identity that were refused, the latest first."""

    items: list[IdentityCopy]


class CopyDecided(Input):
    """What to do with a copy: `continue` lets it continue as the Worker, `as_new` makes it enroll as a new one, with its enrollment key."""

    decision: CopyDecision


class Worker(BaseModel):
    """
    A Worker entry with its activity; `host` and `reported_labels` are what the Worker reports about itself.

    `archived_at` is when lists began to leave it out; null if it is not archived. The entry of an `ephemeral` Worker is removed when
    it signs off or has been absent for a short time. `key_rotation` is `never`, `asked` from an operator's request until the Worker uses a new identity key,
    then `done`; null without an identity key. `key_since` is when the current key was first used; null for the one that it enrolled with.
    `disabled_note` is an operator's reason for disabling the Worker, if given, and `disabled_until` when the Server enables it automatically; both null while it is enabled.
    `approval` is `pending`, `denied` or `expired` while a Worker that needs approval is not admitted, otherwise null.
    """

    id: str
    name: str
    strategy: Strategy
    enabled: bool
    disabled_note: str | None
    disabled_until: datetime | None
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
    archived_at: datetime | None
    ephemeral: bool
    approval: Approval | None
    thumbprint: str | None
    key_rotation: KeyRotation | None
    key_since: datetime | None
    key_rotation_asked_at: datetime | None
    dpop_bound: bool
    connected_since: datetime | None
    host: dict[str, str]
    reported_labels: dict[str, str]


class WorkerPage(BaseModel):
    """A page of Workers; pass `next` as `after` to get the next page."""

    items: list[Worker]
    next: str | None
    total: int


class WorkersMatched(Input):
    """A search in the language of the list of Workers; an empty one matches every Worker."""

    q: Annotated[str, Field(max_length=MAX_LENGTH)]


class WorkerMatch(BaseModel):
    """
    What matches a search now: how many Workers, the first ten in order of ID, and the fingerprint of all of them.

    Send `match` back with the change, which then changes no Worker that did not match here.
    """

    count: int
    first: list[Worker]
    match: str


class BulkChangeWanted(Input):
    """
    What to do to all Workers that match a search. At least one of `match` and `expect` says which Workers are meant.

    `labels` are added, and are only for `label`. `expect` is how many Workers must match.

    `disabled_note` and `disabled_until` are only for `disable`, as in a change of one Worker. A Worker that is already disabled keeps its note, and the later of
    the two ends: no end is the latest.
    """

    action: BulkAction
    q: Annotated[str, Field(max_length=MAX_LENGTH)]
    labels: Labels = Field(default={})
    disabled_note: Annotated[str | None, Field(max_length=1000)] = None
    disabled_until: Annotated[str | None, Field(max_length=64)] = None
    match: Annotated[str | None, Field(max_length=12 * MAX_BY_SEARCH)] = None
    expect: Annotated[int | None, Field(ge=0)] = None


class BulkChangeDone(BaseModel):
    """
    A change to many Workers: those that it changed, and those that it did not.

    `unchanged` were already in that state, or have no identity key to rotate. `number` is that of the audit event, with which the change
    can be undone until `undo_until`. It is null if nothing was changed; `undo_until` is also null if it cannot be undone.
    """

    number: int | None
    undo_until: datetime | None
    changed: int
    ids: list[str]
    unchanged: list[str]
    gone: list[str]


class BulkChangeUndone(BaseModel):
    """A change that was undone: the Workers that were restored, and those that were left alone, by reason."""

    number: int | None
    restored: int
    ids: list[str]
    gone: list[str]
    changed_since: list[str]


class RepeatedRegistration(BaseModel):
    """
    A client that registers again at each start instead of keeping its registration.

    `name` is that of its registrations, with `*` for the varying part; `address` is the host from which the latest came, at `latest_at`.
    `replaced` is how many of them it has replaced by later ones.
    """

    name: str
    address: str
    replaced: int
    latest_at: datetime


class RepeatedRegistrationList(BaseModel):
    """Clients that register again at each start, those with the most replaced registrations first."""

    items: list[RepeatedRegistration]


class WorkerSession(BaseModel):
    """
    One session of a Worker; `ended_at` is null while it lasts, and if the Server stopped before it could see the end.

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


class TokenOrigin(BaseModel):
    """
    From where a Worker got tokens, with which credential and for which audience.

    `network` is the /24 or /64 of `address`, the last address in it. `credential` is the name of an API key, or the thumbprint of
    an identity key; null for an API key that no longer exists. `elsewhere_at` is when this last happened while the Worker was connected
    from another network, at `session_address`.
    """

    network: str
    address: str
    credential_kind: Literal["api_key", "identity_key"]
    credential: str | None
    audience: str
    resource: str | None
    first_at: datetime
    last_at: datetime
    elsewhere_at: datetime | None
    session_address: str | None


class TokenOrigins(BaseModel):
    """The last few origins of a Worker's tokens, the latest first."""

    items: list[TokenOrigin]


class TokenCount(BaseModel):
    """How many tokens a Worker got in the hour that begins at `at`."""

    at: datetime
    tokens: int


class TokenCounts(BaseModel):
    """
    How many tokens a Worker got in each hour (UTC), the earliest first; hours without a token are left out.

    Includes tokens issued by other Servers up to a minute ago.
    """

    since: datetime
    until: datetime
    total: int
    hours: list[TokenCount]


class IssuedKey(BaseModel):
    """A newly issued key: `key` is shown only here."""

    name: str
    public_id: str
    key: str


class NewWorkerAnswer(BaseModel):
    """A newly created Worker, and its key if one was requested."""

    worker: Worker
    api_key: IssuedKey | None


class IssuedKeyOf(IssuedKey):
    """A newly issued key for these Workers."""

    worker_ids: list[str]


class NewWorkersAnswer(BaseModel):
    """
    Newly created Workers, in the order of the pattern, and their keys if any were requested.

    `number` is that of the audit event that their own events have as `group`.
    """

    number: int
    workers: list[Worker]
    api_keys: list[IssuedKeyOf]
