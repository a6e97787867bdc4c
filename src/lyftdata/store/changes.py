"""What a commit changed, for whoever keeps a copy in memory."""

import msgspec

from lyftdata.core.records import ApiKeyRecord, WorkerRecord


class WorkerChanged(msgspec.Struct, frozen=True):
    """A Worker entry is now this, or gone."""

    worker_id: str
    record: WorkerRecord | None


class ApiKeyChanged(msgspec.Struct, frozen=True):
    """An API key is now this, or gone."""

    public_id: str
    record: ApiKeyRecord | None


Change = WorkerChanged | ApiKeyChanged
