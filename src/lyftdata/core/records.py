"""
The records that the Server stores, as frozen values that store, rules and routes share.

Times are aware UTC. Digests are raw bytes. No record holds anything that can be used to log in: API keys are
kept as SHA-256 digests, Workers' identity keys as public keys, signing keys encrypted.
"""

import hashlib
from datetime import datetime
from enum import StrEnum

import msgspec

from lyftdata.core.structs import prepare_structs

Labels = dict[str, str]
"""Label key to value; a bare label such as `gpu` has the value `""`."""


class Strategy(StrEnum):
    """How a Worker proves who it is; a Worker uses exactly one."""

    API_KEY = "api_key"
    AUTO_ENROLLMENT = "auto_enrollment"


class Status(StrEnum):
    """Whether a Worker is connected."""

    NEVER_CONNECTED = "never_connected"
    ONLINE = "online"
    OFFLINE = "offline"


class State(StrEnum):
    """The state of a Worker entry in one word: an operator's decision takes precedence over whether it is connected."""

    ONLINE = "online"
    OFFLINE = "offline"
    NEVER_CONNECTED = "never_connected"
    DISABLED = "disabled"
    SUPERSEDED = "superseded"
    PENDING = "pending"
    """It waits for approval."""
    DENIED = "denied"
    """An operator has denied it."""
    EXPIRED = "expired"
    """It waited for approval, and no operator decided in time."""
    ARCHIVED = "archived"


class Approval(StrEnum):
    """Why a Worker that enrolled with a key of mode `approve` is not admitted; None once it is approved."""

    PENDING = "pending"
    DENIED = "denied"
    EXPIRED = "expired"
    """No operator decided in time."""


class EnrollmentMode(StrEnum):
    """What an enrollment key does with a Worker that matches its rules."""

    AUTO = "auto"
    """It is let in at once."""
    APPROVE = "approve"
    """It waits until an operator approves it, unless a rule of the key does."""
    WARN = "warn"
    """It is admitted at once, and so is one with another name or from another network, which is recorded."""


class Role(StrEnum):
    """What an operator may do; `core.policy` is the table."""

    ADMIN = "admin"
    VIEWER = "viewer"


class KeyRotation(StrEnum):
    """Whether a Worker has rotated its identity key since it enrolled, or was asked to and has not yet."""

    ASKED = "asked"
    DONE = "done"
    NEVER = "never"


class WorkerRecord(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """
    A Worker entry: everything that admission needs to know about it, and nothing that changes with every poll.

    `epoch` grows whenever tokens issued before must stop working although the entry stays (disable, enable, supersede: see
    `core.epochs`); a token carries the epoch at minting. `public_jwk` is canonical JSON of the public
    identity key (RFC 7517) and `thumbprint` its RFC 7638 SHA-256 thumbprint, base64url; both are None for
    strategy `api_key`. `enrolled_with` is the fingerprint of the enrollment key it came with. `registration_digest` is
    the SHA-256 digest of the token by which a third-party client manages its own entry (RFC 7592). `dpop_bound` says
    that it gets tokens only with a proof of possession (`dpop_bound_access_tokens`, RFC 9449, section 5.2). `signs_for` is the
    issuer for which an auto-enrolled Worker last signed; None for strategy `api_key`, and where it is not known yet.
    `archived_at` is when lists began to leave it out because it had not been active for long; it decides nothing about admission.
    The entry of an `ephemeral` Worker is removed when it signs off, or has been absent for a short time.
    `approval` is why the Worker is not let in although it has enrolled; None for one that needs no approval, or was approved. Until
    then it holds no name and its identity key cannot be changed. `approval_since` is when that last changed, None if it never did.

    While an identity key is rotated, `next_jwk` and `next_thumbprint` are the key that takes its place at its first use.
    `rotation_asked_at` is when an operator asked for a rotation that the Worker has not completed; `key_since` when the current key
    was first used, None for the one that the Worker enrolled with.

    A disabled Worker may have a `disabled_note` for other operators, and is enabled by the Server at `disabled_until`; both are None
    while it is enabled.
    """

    id: str
    name: str
    strategy: Strategy
    enabled: bool = True
    labels: Labels = {}
    epoch: int = 0
    created_at: datetime
    created_by: str
    public_jwk: str | None = None
    thumbprint: str | None = None
    enrolled_with: str | None = None
    enrolled_from: str | None = None
    superseded_by: str | None = None
    registration_digest: bytes | None = None
    dpop_bound: bool = False
    signs_for: str | None = None
    archived_at: datetime | None = None
    ephemeral: bool = False
    approval: Approval | None = None
    approval_since: datetime | None = None
    next_jwk: str | None = None
    next_thumbprint: str | None = None
    rotation_asked_at: datetime | None = None
    key_since: datetime | None = None
    disabled_note: str | None = None
    disabled_until: datetime | None = None


def key_rotation_of(worker: WorkerRecord) -> KeyRotation | None:
    """Return how far a Worker's rotation is; None for a Worker without an identity key."""
    if worker.thumbprint is None:
        return None
    if worker.rotation_asked_at is not None:
        return KeyRotation.ASKED
    return KeyRotation.NEVER if worker.key_since is None else KeyRotation.DONE


class WorkerTraces(msgspec.Struct, frozen=True, kw_only=True):
    """
    A Worker's activity: written in batches, at most a second late.

    `host` is what the Worker says about itself (hostname, os, python, agent_version, pid): untrusted text.
    """

    worker_id: str
    last_seen_at: datetime | None = None
    address: str | None = None
    api_key_name: str | None = None
    host: dict[str, str] = {}


class SignatureCounterRecord(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """
    How far the identity key of a Worker has counted its signatures (`core.signature_counter`).

    If the thumbprint is not the entry's, it belongs to a key that was replaced, and is ignored. `host` is the host name reported with
    the last signature, `address` where that request came from. `admits` is the reference of a copy that an operator lets continue as
    the Worker: the counter continues from its next signature before `admits_until`, whatever its number.
    """

    worker_id: str
    thumbprint: str
    number: int
    at_ms: int
    recent: tuple[tuple[int, int], ...] = ()
    host: str = ""
    address: str = ""
    admits: str = ""
    admits_until: datetime | None = None


class CopyDecision(StrEnum):
    """An operator's decision about a copy of an identity."""

    CONTINUE = "continue"
    """It continues as the Worker: the host was restored from a snapshot, or it is the right one of the two."""
    AS_NEW = "as_new"
    """It may enroll as a new Worker, with its own enrollment key."""


class IdentityCopyRecord(msgspec.Struct, frozen=True, kw_only=True):
    """
    A directory that was refused as a copy of a Worker's identity, or as an older state of it.

    `reference` is that of the first refusal, which the directory reports from then on. `host` and `address` are those of the refused
    directory, `other_host` and `other_address` those of the signature that was accepted last.
    """

    reference: str
    worker_id: str
    found_at: datetime
    last_at: datetime
    host: str
    address: str
    other_host: str
    other_address: str
    decision: CopyDecision | None = None
    decided_at: datetime | None = None
    decided_by: str | None = None


class SessionEnd(StrEnum):
    """Why a Worker is no longer connected, unless the Server ended its session."""

    SIGNED_OFF = "signed_off"
    LOST = "lost"
    """Its connection broke, or it did not poll again."""
    STARTED_AGAIN = "started_again"
    """Another start of the program took its slot after its connection had broken."""
    SERVER_STOPPED = "server_stopped"
    SERVER_CRASHED = "server_crashed"


class WorkerSessionRecord(msgspec.Struct, frozen=True, kw_only=True):
    """
    One session of a Worker.

    `end` is a `SessionEnd`, or the code of the refusal with which the Server ended it; "" while it lasts. `host` is what the
    Worker reported about its host: untrusted text.
    """

    worker_id: str
    started_at: datetime
    ended_at: datetime | None = None
    end: str = ""
    address: str
    host: dict[str, str] = {}


class TokenOriginRecord(msgspec.Struct, frozen=True, kw_only=True):
    """
    The origin of a Worker's token requests, by credential and audience.

    `network` is `core.networks.network_of_host` of `address`, the last address in it. `credential` is kind and value as in the
    `cred` of a token, without the epoch. `elsewhere_at` is when a token was last given out while the Worker was connected from
    another network, at `session_address`; both None if that never happened.
    """

    worker_id: str
    network: str
    credential: str
    audience: str
    address: str
    first_at: datetime
    last_at: datetime
    elsewhere_at: datetime | None = None
    session_address: str | None = None


class TokenCountRecord(msgspec.Struct, frozen=True):
    """How many tokens a Worker got in the hour that begins at `hour`."""

    worker_id: str
    hour: datetime
    tokens: int


class VersionCountRecord(msgspec.Struct, frozen=True):
    """How many Workers had agents of a version in the hour that begins at `at`; None for all versions without a row of their own."""

    at: datetime
    version: str | None
    workers: int


class PresenceState(StrEnum):
    """The presence of a Worker, as the Servers of a deployment know it."""

    CONNECTED = "connected"
    BROKEN = "broken"
    """Its poll was cut: it is shown as connected for a moment more, but no longer holds its slot."""
    AWAITED = "awaited"
    """The Server at which it was connected is gone; it may be reconnecting to another, and keeps its name meanwhile."""


class PresenceRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A connected Worker, as its Server publishes it to its peers; `host` is untrusted text."""

    worker_id: str
    server_id: str
    boot_id: str
    credential: str
    since: datetime
    address: str
    host: dict[str, str]
    reported_labels: Labels
    state: PresenceState = PresenceState.CONNECTED


class ServerRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A Server of the deployment; `beat_at` is its last heartbeat, by the database's clock."""

    id: str
    host: str
    address: str
    version: str
    started_at: datetime
    beat_at: datetime


class ApiKeyRecord(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """
    One API key as the Server keeps it: the public id and the SHA-256 digest of the secret part.

    A name may have several generations: `rotate` issues a new one and lets the old one expire; `rotated_at` is when this one was
    rotated. Default deny: `for_all_workers` is a field of its own, so that a key whose last Worker was deleted is a key for no
    Worker, and never one for all. `worker_ids` are in order (`core.standing.is_for` relies on it), each once: most keys are for one
    Worker, and a set of one takes four times the memory.
    """

    public_id: str
    name: str
    generation: int = 1
    digest: bytes
    for_all_workers: bool
    worker_ids: tuple[str, ...] = ()
    created_at: datetime
    created_by: str
    expires_at: datetime | None = None
    revoked_at: datetime | None = None
    rotated_at: datetime | None = None


class EnrollmentKeyRecord(msgspec.Struct, frozen=True, kw_only=True):
    """
    One enrollment key that an operator has issued, as the Server keeps it: the public half, and what it allows.

    Nothing in it enrolls: `public_key` checks proofs (Ed25519, the `x` of its JWK), `digest` is the SHA-256 of the whole key.
    `worker_name` is a pattern (`core.enrollment_rules`), None for any name; `networks` are in CIDR form, empty for everywhere;
    `labels` are put on each Worker that it enrolls, which is ephemeral if the key is `ephemeral`. In mode `approve`, `approve_name` (a
    pattern) and `approve_networks` are the rule by which a Worker is approved without an operator; without either no Worker is.
    In mode `warn`, `worker_name` and `networks` refuse no Worker.
    Generations are as in `ApiKeyRecord`. How often it was used changes at each use and is not kept in memory;
    `is_used_up` is whether it has been used `max_uses` times. `scope` is that of the operator who issued it, None for no limit: its Workers take
    no name from a Worker outside.
    """

    public_id: str
    name: str
    generation: int = 1
    public_key: str
    digest: bytes
    worker_name: str | None = None
    networks: list[str] = []
    labels: Labels = {}
    ephemeral: bool = False
    mode: EnrollmentMode = EnrollmentMode.AUTO
    approve_name: str | None = None
    approve_networks: list[str] = []
    max_uses: int | None = None
    created_at: datetime
    created_by: str
    expires_at: datetime | None = None
    revoked_at: datetime | None = None
    rotated_at: datetime | None = None
    is_used_up: bool = False
    scope: Labels | None = None

    @property
    def fingerprint(self) -> str:
        """Return what the entries that it has enrolled are marked with (`enrolled_with`)."""
        return hashlib.sha256(self.public_key.encode("ascii")).hexdigest()[:16]


class ResourceRecord(msgspec.Struct, frozen=True, kw_only=True):
    """
    A service for which Workers may get tokens.

    `audience` is its name in `aud`; a Worker chosen by ID, name or label gets `scopes` there. `labels` are selectors:
    `key` or `key=value`. Names and labels reach Workers that enrolled themselves only with `include_enrolled`. With its
    key (public id and SHA-256 digest of the secret part) the service introspects tokens.
    """

    name: str
    audience: str
    scopes: list[str] = []
    for_all_workers: bool = False
    include_enrolled: bool = False
    worker_ids: list[str] = []
    worker_names: list[str] = []
    labels: list[str] = []
    created_at: datetime
    created_by: str
    key_public_id: str | None = None
    key_digest: bytes | None = None


class SigningKeyRecord(msgspec.Struct, frozen=True, kw_only=True):
    """
    One of the Server's signing keys, its private half encrypted (AES-256-GCM, key outside the database).

    Life: published (in the JWKS) from `created_at`; signs from `signs_from`; stops signing when the next one
    starts; leaves the JWKS at `retires_at` (None while it may still sign).
    """

    kid: str
    algorithm: str
    encrypted_private_key: bytes
    created_at: datetime
    signs_from: datetime
    retires_at: datetime | None = None


class OperatorRecord(msgspec.Struct, frozen=True, kw_only=True):
    """
    A person who may sign in: by a password, kept as an Argon2id hash, or at an OpenID Connect issuer.

    `unlocks` is incremented each time the operator is unlocked: Servers then forget the failed sign-ins before. `issuer` and
    `subject` are who the operator is at the issuer; then there is no password, and `password_hash` is empty.
    `password_expires_at` is the end of a password that was set for an emergency, on the Server's host. `scope` are the labels of the
    Workers to which the operator is limited (`core.scopes`), None for no limit.
    """

    name: str
    role: Role
    password_hash: str
    must_change_password: bool = False
    created_at: datetime
    unlocks: int = 0
    issuer: str | None = None
    subject: str | None = None
    password_expires_at: datetime | None = None
    scope: Labels | None = None


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """
    The Server's figures for one minute, for plots over time.

    `at` is the minute's beginning; `online` the Workers connected at its end; `admitted` tokens signed, `refused`
    attempts refused within it.
    """

    at: datetime
    online: int
    admitted: int
    refused: int


class AdminSessionRecord(msgspec.Struct, frozen=True, kw_only=True):
    """
    An operator's signed-in session; the bearer token is kept as a SHA-256 digest.

    `issuer_session` is the session at the issuer that it was opened by (`sid`), if the issuer named one: it ends with that.
    `authenticated_at` is when the operator last proved in it who they are, None if that is not known; `used_at` when a person last
    used it, None for never since it was opened. `second_factor` is the second factor by which it was opened, if any.
    """

    id: str
    operator: str
    digest: bytes
    created_at: datetime
    expires_at: datetime
    address: str
    user_agent: str = ""
    issuer_session: str | None = None
    authenticated_at: datetime | None = None
    used_at: datetime | None = None
    second_factor: str | None = None

    @property
    def last_used_at(self) -> datetime:
        """Return when it was last used: opening it is the first use."""
        return self.used_at or self.created_at


class SecondFactorKind(StrEnum):
    """What an operator authenticates with in addition to the password."""

    TOTP = "totp"


class SecondFactorRecord(msgspec.Struct, frozen=True, kw_only=True):
    """
    A second factor of an operator.

    `sealed` is the secret, encrypted under the Server's secret key. `counter` is the last time step whose code was used: none up to it
    counts again.
    """

    id: str
    operator: str
    kind: SecondFactorKind
    sealed: bytes
    counter: int
    created_at: datetime
    used_at: datetime | None = None


class PasskeyRecord(msgspec.Struct, frozen=True, kw_only=True):
    """
    A passkey of an operator: the public half, which cannot sign in.

    `credential_id` is what the authenticator knows it by, `user_handle` what it knows the operator by, `public_key` a COSE_Key (RFC 9052, section 7), and `sign_count` the last
    counter that it has sent; 0 for ever from those that do not count.
    """

    id: str
    operator: str
    name: str
    credential_id: bytes
    user_handle: bytes
    public_key: bytes
    sign_count: int
    created_at: datetime
    used_at: datetime | None = None


class ApiTokenRecord(msgspec.Struct, frozen=True, kw_only=True):
    """
    One API token as the Server keeps it: the public id and the SHA-256 digest of the secret part.

    It acts for `operator`, who issued it, with `role` or that operator's own, whichever is less, and within both `scope` and that
    operator's own. `last_used_at` may be some minutes old (`server/admin/api_token_uses.py`).
    """

    public_id: str
    name: str
    digest: bytes
    role: Role
    operator: str
    created_at: datetime
    expires_at: datetime
    revoked_at: datetime | None = None
    last_used_at: datetime | None = None
    last_used_from: str | None = None
    scope: Labels | None = None


class AuditEvent(msgspec.Struct, frozen=True, kw_only=True):
    """
    One decision about trust, as it is handed to the audit log.

    The fields of the chain (number, previous hash, hash) are added by the store when it is appended.
    `actor` is `operator:NAME`, `api_token:NAME`, `enrollment` or `server`. `details` holds no secret.
    """

    at: datetime
    actor: str
    action: str
    subject: str
    address: str = ""
    details: dict[str, str] = {}


class ChainedAuditEvent(msgspec.Struct, frozen=True, kw_only=True):
    """An audit event at its position in the chain; `previous` and `hash` are 32 raw bytes."""

    number: int
    event: AuditEvent
    previous: bytes
    hash: bytes


class CheckpointRecord(msgspec.Struct, frozen=True, kw_only=True):
    """
    A signed checkpoint of the audit log.

    `peaks` are the subtrees of the log's Merkle tree at that size, one after the other: from them the tree goes on without the
    events before. `note` is the signed text, and what it says of the root decides.
    """

    size: int
    at: datetime
    peaks: bytes
    note: str


class Transport(StrEnum):
    """How events reach a destination."""

    WEBHOOK = "webhook"
    SYSLOG = "syslog"
    FILE = "file"


class EventDestinationRecord(msgspec.Struct, frozen=True, kw_only=True):
    """
    Where events of the audit log are delivered.

    `sealed_target` is the URL and the secrets that sign messages, encrypted (`core.event_destinations`); `endpoint` is host and port of
    that URL, which may be shown. `events` are patterns of their types and `labels` those of the Workers that they are about; an empty
    list lets all through. `ca` are certificates (PEM) to trust instead of the system's. Until `previous_secret_until`, messages are
    signed with the previous secret too.
    """

    name: str
    transport: Transport
    endpoint: str
    sealed_target: bytes
    ca: str = ""
    events: list[str] = []
    labels: list[str] = []
    previous_secret_until: datetime | None = None
    paused_at: datetime | None = None
    created_at: datetime
    created_by: str


class EventDeliveryRecord(msgspec.Struct, frozen=True, kw_only=True):
    """
    The progress of the delivery to a destination.

    Events up to number `through` have been delivered, or were not wanted. `holder` is the Server that delivers; it may be gone.
    `failures` are attempts in a row, since `failing_since`. `lost` counts events that the audit log's retention removed before they were
    delivered. If the receiver has answered an event and not accepted it, `rejected_number` is that event, `rejections` how often since
    `rejected_since`, and `rejection` its last answer; once the event is behind, these mean nothing. `skipped` counts events that operators
    skipped.
    """

    name: str
    through: int
    holder: str | None = None
    failures: int = 0
    delivered: int = 0
    lost: int = 0
    last_success_at: datetime | None = None
    last_error: str = ""
    last_error_at: datetime | None = None
    next_attempt_at: datetime | None = None
    failing_since: datetime | None = None
    rejected_number: int | None = None
    rejected_since: datetime | None = None
    rejections: int = 0
    rejection: str = ""
    skipped: int = 0


class OpenAlertRecord(msgspec.Struct, frozen=True, kw_only=True):
    """
    An alert that was raised and has not ended.

    `key` tells alerts of one kind apart, and stays the same while the cause lasts. Of Workers that were lost it is the time of the first
    loss.
    """

    kind: str
    key: str
    raised_at: datetime
    last_seen_at: datetime


class RefusalAttempt(msgspec.Struct, frozen=True, kw_only=True):
    """
    One refused attempt, with the whole reason.

    `claimed_worker` is the identity that the caller claimed (untrusted text, cleaned and cut to 128 characters), or "".
    `detail` is for operators only. `api_key` and `other_worker` name the key and the Worker concerned, if the cause knows them;
    `enrollment_key` is the fingerprint of an enrollment key that was proved, if its rules are the cause.
    """

    reference: str
    code: str
    at: datetime
    address: str
    claimed_worker: str
    detail: str
    proved: bool
    api_key: str = ""
    other_worker: str = ""
    enrollment_key: str = ""


class RefusalGroup(msgspec.Struct, frozen=True, kw_only=True):
    """Attempts of one cause, claimed Worker and address, counted."""

    code: str
    claimed_worker: str
    address: str
    count: int
    first_at: datetime
    last_at: datetime
    last_reference: str
    last_detail: str


class IgnoredRefusalRecord(msgspec.Struct, frozen=True, kw_only=True):
    """
    An operator's decision to ignore refusals of one cause for a time.

    `subject` is `worker:ID`, or `address:ADDRESS` for callers that are no Worker; `note` says why.
    """

    code: str
    subject: str
    until: datetime
    at: datetime
    by: str
    note: str = ""


# What is read from rows: the store's readers begin at the same moment.
prepare_structs(
    AdminSessionRecord,
    ApiKeyRecord,
    ApiTokenRecord,
    AuditEvent,
    CheckpointRecord,
    EnrollmentKeyRecord,
    EventDeliveryRecord,
    EventDestinationRecord,
    IdentityCopyRecord,
    IgnoredRefusalRecord,
    OpenAlertRecord,
    OperatorRecord,
    PasskeyRecord,
    PresenceRecord,
    RefusalAttempt,
    RefusalGroup,
    ResourceRecord,
    SecondFactorRecord,
    ServerRecord,
    SignatureCounterRecord,
    SigningKeyRecord,
    TokenOriginRecord,
    WorkerRecord,
    WorkerSessionRecord,
    WorkerTraces,
)
