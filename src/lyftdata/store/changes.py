"""What a commit has changed, for the copies in memory."""

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
    """A Worker entry was added, changed or removed (None)."""

    worker_id: str
    record: WorkerRecord | None


class ApiKeyChanged(msgspec.Struct, frozen=True):
    """An API key was added, changed or removed (None)."""

    public_id: str
    record: ApiKeyRecord | None


class EnrollmentKeyChanged(msgspec.Struct, frozen=True):
    """An issued enrollment key was added, changed or removed (None)."""

    public_id: str
    record: EnrollmentKeyRecord | None


class ResourceChanged(msgspec.Struct, frozen=True):
    """A resource was added, changed or removed (None)."""

    name: str
    record: ResourceRecord | None


class FleetPolicyChanged(msgspec.Struct, frozen=True):
    """The fleet policy for agent versions was changed or removed (None)."""

    record: FleetPolicyRecord | None


class TokenRevoked(msgspec.Struct, frozen=True):
    """A worker token was revoked before it expired."""

    jti: str
    expires_at: datetime


class SigningKeysChanged(msgspec.Struct, frozen=True):
    """Signing keys were created, retired or removed; they must be reloaded."""


class PresenceChanged(msgspec.Struct, frozen=True):
    """A Worker has connected or its session has changed, or it is connected to no Server (None)."""

    worker_id: str
    record: PresenceRecord | None


class Broadcast(msgspec.Struct, frozen=True):
    """A message from one Server to the others that has no table of its own, by topic; the body is a small JSON object."""

    topic: str
    body: dict[str, Any]


class AllChanged(msgspec.Struct, frozen=True):
    """
    A full reload of everything kept in memory: the changes since the last look are not known.

    What is missing from it no longer exists. Signing keys must be reloaded as well.
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
