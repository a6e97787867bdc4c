"""The types of changes in a commit, for copies in memory."""

from datetime import datetime
from typing import Any

import msgspec

from lyftdata.core.fleet_policy import FleetPolicyRecord
from lyftdata.core.records import (
    ApiKeyRecord,
    EnrollmentKeyRecord,
    PresenceRecord,
    ResourceRecord,
    WorkerRecord,
)


class WorkerChanged(msgspec.Struct, frozen=True):
    """A Worker entry is now this, or gone."""

    worker_id: str
    record: WorkerRecord | None


class ApiKeyChanged(msgspec.Struct, frozen=True):
    """An API key is now this, or gone."""

    public_id: str
    record: ApiKeyRecord | None


class EnrollmentKeyChanged(msgspec.Struct, frozen=True):
    """An issued enrollment key is now this, or gone."""

    public_id: str
    record: EnrollmentKeyRecord | None


class ResourceChanged(msgspec.Struct, frozen=True):
    """A resource is now this, or gone."""

    name: str
    record: ResourceRecord | None


class FleetPolicyChanged(msgspec.Struct, frozen=True):
    """The policy for the versions of agents is now this, or gone."""

    record: FleetPolicyRecord | None


class TokenRevoked(msgspec.Struct, frozen=True):
    """A worker token was taken back before its end."""

    jti: str
    expires_at: datetime


class SigningKeysChanged(msgspec.Struct, frozen=True):
    """The Server's signing keys were made, retired or removed; they must be reloaded."""


class PresenceChanged(msgspec.Struct, frozen=True):
    """A Worker is connected like this, or at no Server."""

    worker_id: str
    record: PresenceRecord | None


class Broadcast(msgspec.Struct, frozen=True):
    """What one Server tells the others without any row of its own, by topic; what is sent is a small JSON object."""

    topic: str
    body: dict[str, Any]


class AllChanged(msgspec.Struct, frozen=True):
    """
    Everything that is kept in memory, as it is now: what has changed since it was last looked at is not known.

    What is not in here is gone. Signing keys must be reloaded as well.
    """

    workers: list[WorkerRecord]
    api_keys: list[ApiKeyRecord]
    enrollment_keys: list[EnrollmentKeyRecord]
    resources: list[ResourceRecord]
    revoked_tokens: dict[str, datetime]
    fleet_policy: FleetPolicyRecord | None
    presence: list[PresenceRecord]


Change = (
    WorkerChanged
    | ApiKeyChanged
    | EnrollmentKeyChanged
    | ResourceChanged
    | FleetPolicyChanged
    | TokenRevoked
    | SigningKeysChanged
    | PresenceChanged
    | Broadcast
    | AllChanged
)
