"""The state of a fake Server: Workers with API keys, resources, and revocations."""

import secrets
import threading
from collections.abc import Collection
from datetime import UTC, datetime
from typing import NamedTuple

from lyftdata.core.api_keys import NewApiKey, generate_api_key, parse_api_key, verify_api_key
from lyftdata.core.epochs import first_epoch, next_epoch
from lyftdata.core.records import ApiKeyRecord, ResourceRecord, WorkerRecord
from lyftdata.core.refusals import RefusedError
from lyftdata.core.resources import parse_audience, parse_resource_name, parse_scopes
from lyftdata.testing._tokens import CREATED_AT


class FakeWorker(NamedTuple):
    """
    A Worker that a fake Server gives tokens to.

    `environ` holds the variables for `TokenKeeper.from_environment`; the API key in it is valid only at the fake Server.
    """

    worker_id: str
    environ: dict[str, str]


class FakeResource(NamedTuple):
    """A service registered at a fake Server: the arguments of a verifier with `online=True`."""

    name: str
    audience: str
    key: str


class State:
    """Entries by ID; read by the threads that answer, changed by the test."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._workers: dict[str, WorkerRecord] = {}
        self._api_keys: dict[str, ApiKeyRecord] = {}
        self._resources: dict[str, ResourceRecord] = {}
        self._disabled: set[str] = set()
        self._revoked: set[str] = set()
        self._epochs: dict[str, int] = {}

    def add_worker(self, worker: WorkerRecord) -> NewApiKey:
        """Add a Worker; return its API key."""
        key = generate_api_key(secrets.token_bytes)
        with self._lock:
            self._workers[worker.id] = worker
            self._api_keys[key.public_id] = _api_key_record(key, worker.id)
        return key

    def add_resource(self, name: str, *, audience: str, scopes: Collection[str], issuer: str) -> NewApiKey:
        """Add a resource that every Worker may have tokens for; return its key."""
        key = generate_api_key(secrets.token_bytes)
        record = ResourceRecord(
            name=parse_resource_name(name),
            audience=parse_audience(audience, issuer=issuer),
            scopes=parse_scopes(list(scopes)),
            for_all_workers=True,
            include_enrolled=True,
            created_at=datetime.now(UTC),
            created_by="tests",
            key_public_id=key.public_id,
            key_digest=key.digest,
        )
        with self._lock:
            self._resources[record.name] = record
        return key

    def admit_worker(self, worker_id: str, unverified_key: str) -> WorkerRecord | None:
        """Return the Worker with this ID and API key, or None; does not check whether it is disabled."""
        try:
            presented = parse_api_key(unverified_key)
            record = self._api_keys.get(presented.public_id)
            verify_api_key(presented, record=record, worker_id=worker_id, now=datetime.now(UTC))
        except RefusedError:
            return None
        return self._workers.get(worker_id)

    def admit_resource(self, name: str, unverified_key: str) -> ResourceRecord | None:
        """Return the resource with this name and key, if there is one."""
        record = self._resources.get(name)
        try:
            digest = parse_api_key(unverified_key).digest
        except RefusedError:
            return None
        if record is None or record.key_digest is None:
            return None
        return record if secrets.compare_digest(digest, record.key_digest) else None

    def resources(self) -> list[ResourceRecord]:
        """Return every resource."""
        return list(self._resources.values())

    def find_resource(self, *, audience: str) -> ResourceRecord | None:
        """Return the resource that a token is for."""
        return next((one for one in self._resources.values() if one.audience == audience), None)

    def revoke(self, token_id: str) -> None:
        """Revoke a token."""
        self._revoked.add(token_id)

    def set_enabled(self, worker_id: str, *, enabled: bool) -> None:
        """Disable or enable a Worker; either begins a new epoch of its entry."""
        self._epochs[worker_id] = next_epoch(self.epoch(worker_id), now=datetime.now(UTC))
        if enabled:
            self._disabled.discard(worker_id)
        else:
            self._disabled.add(worker_id)

    def epoch(self, worker_id: str) -> int:
        """Return the epoch of a Worker's entry, which its tokens must have."""
        return self._epochs.get(worker_id, first_epoch(CREATED_AT))

    def is_revoked(self, token_id: str) -> bool:
        """Return whether a token was revoked."""
        return token_id in self._revoked

    def is_disabled(self, worker_id: str) -> bool:
        """Return whether a Worker is disabled."""
        return worker_id in self._disabled


def _api_key_record(key: NewApiKey, worker_id: str) -> ApiKeyRecord:
    return ApiKeyRecord(
        public_id=key.public_id,
        name="tests",
        digest=key.digest,
        for_all_workers=False,
        worker_ids=(worker_id,),
        created_at=datetime.now(UTC),
        created_by="tests",
    )
