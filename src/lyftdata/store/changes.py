"""What a commit changed, for whoever keeps a copy in memory."""

from datetime import datetime

import msgspec

from lyftdata.core.records import ApiKeyRecord, ResourceRecord, WorkerRecord


class WorkerChanged(msgspec.Struct, frozen=True):
    """A Worker entry is now this, or gone."""

    worker_id: str
    record: WorkerRecord | None


class ApiKeyChanged(msgspec.Struct, frozen=True):
    """An API key is now this, or gone."""

    public_id: str
    record: ApiKeyRecord | None


class ResourceChanged(msgspec.Struct, frozen=True):
    """A resource is now this, or gone."""

    name: str
    record: ResourceRecord | None


class TokenRevoked(msgspec.Struct, frozen=True):
    """A worker token was taken back before its end."""

    jti: str
    expires_at: datetime


Change = WorkerChanged | ApiKeyChanged | ResourceChanged | TokenRevoked
