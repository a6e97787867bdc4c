"""
Keeps every Worker entry, API key and resource that admission needs in memory.

Admission only reads this, never the database. That keeps I/O out of the token path, and so prevents two attacks: resource exhaustion
before authentication (an unproven caller causes no query), and enumeration by timing (a known and an unknown ID cost one
dictionary lookup each). The directory is changed in the event loop right after the commit, before the caller of that commit
gets an answer, so that once an operator reads "revoked" the credential is refused. Entries never expire.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import TypeVar

import msgspec

from lyftdata.core.errors import InvalidInputError
from lyftdata.core.fleet_policy import FleetPolicy, FleetPolicyRecord
from lyftdata.core.identity_keys import PublicIdentityKey, load_public_key
from lyftdata.core.log_events.server import IDENTITY_KEY_UNREADABLE
from lyftdata.core.records import ApiKeyRecord, Approval, EnrollmentKeyRecord, ResourceRecord, WorkerRecord
from lyftdata.log import emit, get_logger
from lyftdata.server.admission.label_texts import LabelTexts
from lyftdata.store.changes import (
    AllChanged,
    ApiKeyChanged,
    Change,
    EnrollmentKeyChanged,
    FleetPolicyChanged,
    ResourceChanged,
    TokenRevoked,
    WorkerChanged,
)

_log = get_logger(__name__)

T = TypeVar("T")


class Directory:
    """Worker entries by ID and identity key, API keys by public id, resources, the fleet policy; read from any thread, changed in the event loop."""

    def __init__(
        self,
        workers: Iterable[WorkerRecord],
        api_keys: Iterable[ApiKeyRecord],
        resources: Iterable[ResourceRecord] = (),
        revoked_tokens: Mapping[str, datetime] | None = None,
        enrollment_keys: Iterable[EnrollmentKeyRecord] = (),
        fleet_policy: FleetPolicyRecord | None = None,
    ) -> None:
        self._workers: dict[str, WorkerRecord] = {}
        self._identity_keys: dict[str, PublicIdentityKey] = {}
        self._next_keys: dict[str, PublicIdentityKey] = {}
        self._api_keys = {key.public_id: key for key in api_keys}
        self._resources = {resource.name: resource for resource in resources}
        self._revoked_tokens = dict(revoked_tokens or {})
        self._enrollment_keys = {key.public_id: key for key in enrollment_keys}
        self._fleet_policy = _to_policy(fleet_policy)
        self._enrolled_with: dict[str, int] = {}
        self._archived = 0
        self._ephemeral: set[str] = set()
        self._asked_to_rotate: set[str] = set()
        self._disabled_until: set[str] = set()
        self._pending: Counter[str] = Counter()
        self._label_texts = LabelTexts()
        for worker in workers:
            self._replace_worker(worker.id, worker)

    def find_worker(self, worker_id: str) -> WorkerRecord | None:
        """Return the entry with this ID, or None."""
        return self._workers.get(worker_id)

    def find_workers(self, worker_ids: Iterable[str]) -> list[WorkerRecord]:
        """Return the entries with these IDs, in order; unknown IDs are left out."""
        return [worker for worker in map(self._workers.get, worker_ids) if worker is not None]

    def find_identity_key(self, worker_id: str) -> PublicIdentityKey | None:
        """
        Return a Worker's public identity key, or None if it has none.

        Enumeration by timing: the key is parsed when the entry is added. Parsing it at its first use would make the response time
        reveal whether an ID is enrolled.
        """
        return self._identity_keys.get(worker_id)

    def find_next_key(self, worker_id: str) -> PublicIdentityKey | None:
        """Return the key that replaces a Worker's identity key when first used, or None."""
        return self._next_keys.get(worker_id)

    def count_rotations_asked(self) -> int:
        """Return how many Workers were asked to rotate their identity key and have not done so yet."""
        return len(self._asked_to_rotate)

    def count_by_issuer(self) -> dict[str, int]:
        """Return how many Workers, except superseded ones, sign for each issuer."""
        return Counter(
            worker.signs_for
            for worker in self._workers.values()
            if worker.signs_for is not None and worker.superseded_by is None
        )

    def find_api_key(self, public_id: str) -> ApiKeyRecord | None:
        """Return the API key with this public id, or None."""
        return self._api_keys.get(public_id)

    def find_enrollment_key(self, public_id: str) -> EnrollmentKeyRecord | None:
        """Return the issued enrollment key with this public id, or None."""
        return self._enrollment_keys.get(public_id)

    def enrollment_keys(self) -> Iterator[EnrollmentKeyRecord]:
        """Iterate over every generation of every issued enrollment key."""
        return iter(self._enrollment_keys.values())

    def resources(self) -> Iterator[ResourceRecord]:
        """Iterate over every resource."""
        return iter(self._resources.values())

    def find_resource(self, *, audience: str) -> ResourceRecord | None:
        """Return the resource with this audience, or None."""
        return next((r for r in self._resources.values() if r.audience == audience), None)

    def find_resource_by_name(self, name: str) -> ResourceRecord | None:
        """Return the resource with this name, or None."""
        return self._resources.get(name)

    def find_resource_by_key(self, public_id: str) -> ResourceRecord | None:
        """Return the resource whose key has this public id, or None."""
        return next((r for r in self._resources.values() if r.key_public_id == public_id), None)

    @property
    def fleet_policy(self) -> FleetPolicy | None:
        """Return the fleet policy for agent versions, or None."""
        return self._fleet_policy

    def is_token_revoked(self, jti: str) -> bool:
        """Return whether this token was revoked (RFC 7009)."""
        return jti in self._revoked_tokens

    def forget_expired_tokens(self, now: datetime) -> None:
        """Drop revoked tokens that have expired."""
        for jti in [jti for jti, expires_at in self._revoked_tokens.items() if expires_at <= now]:
            del self._revoked_tokens[jti]

    def workers(self) -> Iterator[WorkerRecord]:
        """Iterate over every Worker entry."""
        return iter(self._workers.values())

    def api_keys(self) -> Iterator[ApiKeyRecord]:
        """Iterate over every generation of every API key."""
        return iter(self._api_keys.values())

    @property
    def label_texts(self) -> LabelTexts:
        """Return the keys and values of all Workers' labels, including archived ones; do not modify them."""
        return self._label_texts

    def worker_count(self) -> int:
        """Return the number of Worker entries, without archived ones."""
        return len(self._workers) - self._archived

    def archived_count(self) -> int:
        """Return the number of archived Worker entries."""
        return self._archived

    def ephemeral_workers(self) -> Iterator[WorkerRecord]:
        """Iterate over the entries of ephemeral Workers."""
        return (self._workers[worker_id] for worker_id in self._ephemeral)

    def disabled_until(self) -> Iterator[WorkerRecord]:
        """Iterate over the entries that are disabled until a given time."""
        return (self._workers[worker_id] for worker_id in self._disabled_until)

    def pending(self) -> Counter[str]:
        """Return how many Workers wait for approval, by the fingerprint of their enrollment key; do not modify it."""
        return self._pending

    def enrolled_with(self, fingerprint: str) -> int:
        """Return how many entries were enrolled with the enrollment key of this fingerprint."""
        return self._enrolled_with.get(fingerprint, 0)

    def apply(self, changes: Sequence[Change]) -> None:
        """Apply the changes of a commit."""
        for change in changes:
            match change:
                case WorkerChanged(worker_id=worker_id, record=record):
                    self._replace_worker(worker_id, record)
                case ApiKeyChanged(public_id=public_id, record=key):
                    _set_or_drop(self._api_keys, public_id, key)
                case EnrollmentKeyChanged(public_id=public_id, record=secret):
                    _set_or_drop(self._enrollment_keys, public_id, secret)
                case ResourceChanged(name=name, record=resource):
                    _set_or_drop(self._resources, name, resource)
                case FleetPolicyChanged(record=policy):
                    self._fleet_policy = _to_policy(policy)
                case TokenRevoked(jti=jti, expires_at=expires_at):
                    self._revoked_tokens[jti] = expires_at

    def differences(self, whole: AllChanged) -> Iterator[Change]:
        """Yield the changes that turn the current state into this one, and no others."""
        workers = {worker.id: worker for worker in whole.workers}
        for worker_id in workers.keys() | self._workers.keys():
            if self._workers.get(worker_id) != (record := workers.get(worker_id)):
                yield WorkerChanged(worker_id, record)
        keys = {key.public_id: key for key in whole.api_keys}
        for public_id in keys.keys() | self._api_keys.keys():
            if self._api_keys.get(public_id) != (key := keys.get(public_id)):
                yield ApiKeyChanged(public_id, key)
        secrets = {key.public_id: key for key in whole.enrollment_keys}
        for public_id in secrets.keys() | self._enrollment_keys.keys():
            if self._enrollment_keys.get(public_id) != (secret := secrets.get(public_id)):
                yield EnrollmentKeyChanged(public_id, secret)
        resources = {resource.name: resource for resource in whole.resources}
        for name in resources.keys() | self._resources.keys():
            yield ResourceChanged(name, resources.get(name))
        yield FleetPolicyChanged(whole.fleet_policy)
        # Undone revocation: a reload only adds revoked tokens, and never removes one.
        yield from (TokenRevoked(jti, expires_at) for jti, expires_at in whole.revoked_tokens.items())

    def _replace_worker(self, worker_id: str, record: WorkerRecord | None) -> None:
        before = self._workers.pop(worker_id, None)
        self._ephemeral.discard(worker_id)
        self._asked_to_rotate.discard(worker_id)
        self._disabled_until.discard(worker_id)
        self._next_keys.pop(worker_id, None)
        known_key = self._identity_keys.pop(worker_id, None)
        if before is not None:
            self._count(before, -1)
        if record is not None:
            self._workers[worker_id] = record
            if record.ephemeral:
                self._ephemeral.add(worker_id)
            if record.rotation_asked_at is not None:
                self._asked_to_rotate.add(worker_id)
            if record.disabled_until is not None:
                self._disabled_until.add(worker_id)
            if known_key is None or known_key.canonical_jwk != record.public_jwk:
                known_key = _load_key(record, record.public_jwk)
            next_key = _load_key(record, record.next_jwk)
            if next_key is not None:
                self._next_keys[worker_id] = next_key
            if known_key is not None:
                self._identity_keys[worker_id] = known_key
            self._count(record, +1)

    def _count(self, worker: WorkerRecord, step: int) -> None:
        self._label_texts.count(worker.labels, step)
        if worker.archived_at is not None:
            self._archived += step
        if worker.approval is Approval.PENDING:
            self._pending[worker.enrolled_with or ""] += step
        if worker.enrolled_with is not None:
            self._enrolled_with[worker.enrolled_with] = self.enrolled_with(worker.enrolled_with) + step


def _set_or_drop(records: dict[str, T], key: str, record: T | None) -> None:
    if record is None:
        records.pop(key, None)
    else:
        records[key] = record


def _to_policy(record: FleetPolicyRecord | None) -> FleetPolicy | None:
    return None if record is None else FleetPolicy(record)


def _load_key(worker: WorkerRecord, jwk: str | None) -> PublicIdentityKey | None:
    """
    Return a Worker's public key; None if it has none, or if it cannot be parsed.

    Denial of service: a row written by a newer version or by hand locks out only its own Worker. It must not prevent the
    Server from starting, nor the revocations in the same commit.
    """
    if jwk is None:
        return None
    try:
        return load_public_key(jwk)
    except (InvalidInputError, msgspec.DecodeError) as error:
        emit(_log, IDENTITY_KEY_UNREADABLE, worker=worker.id, problem=str(error))
        return None
