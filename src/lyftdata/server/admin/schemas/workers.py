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
    """A Worker to add for strategy `api_key`; `api_key` names a key that there is, which it may use too."""

    name: str
    id: str | None = None
    labels: Labels = Field(default={})
    issue_key: bool = False
    api_key: Annotated[str | None, Field(max_length=50)] = None


class NewWorkers(Input):
    """
    Workers to add for strategy `api_key`, at most 500: `press-[01-20]` is press-01 to press-20.

    `ids` is a pattern for as many; if it is missing, IDs are generated. `issue_key` makes a new key for `each`, or one that is `shared` by all; `api_key`
    names a key that there is, which they may use too.
    """

    names: Annotated[str, Field(max_length=MAX_PATTERN)]
    ids: Annotated[str | None, Field(max_length=MAX_PATTERN)] = None
    labels: Labels = Field(default={})
    issue_key: Literal["each", "shared"] | None = None
    api_key: Annotated[str | None, Field(max_length=50)] = None


class WorkerChange(Input):
    """
    What to change of a Worker; what is left out stays.

    `disabled_note` is for other operators. `disabled_until` is when the Server enables the Worker by itself: a time such as `2026-03-01T12:00Z`, or how long
    from now, such as `2h`. Empty, each is removed. `enabled: false` without `disabled_until` disables without an end, also a Worker that had one.
    """

    name: str | None = None
    enabled: bool | None = None
    disabled_note: Annotated[str | None, Field(max_length=1000)] = None
    disabled_until: Annotated[str | None, Field(max_length=64)] = None
    labels: Labels | None = None


class KeyRotationWanted(Input):
    """Which Workers are to rotate their identity key: those named, or all that have one."""

    ids: Annotated[list[str], Field(max_length=1000)] = Field(default=[])
    all: bool = False


class KeyRotationAsked(BaseModel):
    """The Workers that were asked to rotate their identity key; those without one and superseded ones were not."""

    asked: int
    ids: list[str]


class IdentityCopy(BaseModel):
    """
    A directory that was refused as a copy of a Worker's identity, or as an older state of it.

    `host` and `address` are the refused one's, `other_host` and `other_address` those of the signature that was accepted last before.
    `decision` is `continue` (it continues as the Worker), `as_new` (it enrolls as a new Worker), or null while nothing was decided;
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
    """What to do with a copy: `continue` lets it continue as the Worker, `as_new` lets it enroll as a new one, by its enrollment key."""

    decision: CopyDecision


class Worker(BaseModel):
    """
    A Worker entry with its traces; `host` and `reported_labels` are what the Worker says of itself.

    `archived_at` is when lists began to leave it out; null as long as they show it. The entry of an `ephemeral` Worker is removed when
    it signs off or has been absent for a short time. `key_rotation` is `asked` from when an operator asked for another identity key
    until the Worker uses it, then `done`, before the first time `never`, and null without an identity key. `key_since` is when the current one was first used;
    null for the one that it enrolled with.
    `disabled_note` says why a Worker is disabled, if an operator said so, and `disabled_until` when the Server enables it by itself; both null while it is enabled.
    `approval` is `pending`, `denied` or `expired` while a Worker that needs approval is not let in, else null.
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
    """A page of Workers; `next` goes into `after` for the page behind it."""

    items: list[Worker]
    next: str | None
    total: int


class WorkersMatched(Input):
    """A search in the language of the list of Workers; an empty one finds every Worker."""

    q: Annotated[str, Field(max_length=MAX_LENGTH)]


class WorkerMatch(BaseModel):
    """
    What a search finds now: how many Workers, the first ten in order of ID, and the fingerprint of all of them.

    `match` is sent back with the change, which then changes no Worker that was not found here.
    """

    count: int
    first: list[Worker]
    match: str


class BulkChangeWanted(Input):
    """
    What to do to all Workers that a search finds. At least one of `match` and `expect` says which Workers are meant.

    `labels` are added, and are for `label` alone. `expect` is how many Workers there must be.

    `disabled_note` and `disabled_until` are for `disable` alone, as in a change of one Worker. A Worker that is disabled already keeps its note, and the later of
    both ends: without an end is the latest.
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
    A change to many Workers: those that it has changed, and those that it has not.

    `unchanged` are those that were so already, or have no identity key to rotate. `number` is that of the audit event, by which
    the change can be undone until `undo_until`. Null if nothing was changed; `undo_until` also if it cannot be undone.
    """

    number: int | None
    undo_until: datetime | None
    changed: int
    ids: list[str]
    unchanged: list[str]
    gone: list[str]


class BulkChangeUndone(BaseModel):
    """A change that was undone: the Workers that are as before, and those that were left alone, by the reason."""

    number: int | None
    restored: int
    ids: list[str]
    gone: list[str]
    changed_since: list[str]


class RepeatedRegistration(BaseModel):
    """
    A client that registers again at each start instead of keeping its registration.

    `name` is that of its registrations, with `*` for what differs; `address` is the host from which the latest came, at `latest_at`.
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


class TokenOrigin(BaseModel):
    """
    From where a Worker got tokens, by which credential and for which audience.

    `network` is the /24 or /64 of `address`, the last address in it. `credential` is the name of an API key, or the thumbprint of
    an identity key; null for an API key that is gone. `elsewhere_at` is when that last happened while the Worker was connected
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

    Also what other Servers issued, up to a minute ago.
    """

    since: datetime
    until: datetime
    total: int
    hours: list[TokenCount]


class IssuedKey(BaseModel):
    """A key just made: `key` is shown here and nowhere else."""

    name: str
    public_id: str
    key: str


class NewWorkerAnswer(BaseModel):
    """A Worker just made, and its key if one was asked for."""

    worker: Worker
    api_key: IssuedKey | None


class IssuedKeyOf(IssuedKey):
    """A key just made for these Workers."""

    worker_ids: list[str]


class NewWorkersAnswer(BaseModel):
    """
    Workers just made, in the order of the pattern, and their keys if any were asked for.

    `number` is that of the audit event which their own events name as `group`.
    """

    number: int
    workers: list[Worker]
    api_keys: list[IssuedKeyOf]
