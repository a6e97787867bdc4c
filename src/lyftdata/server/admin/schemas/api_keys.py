"""Models of API keys in the admin API."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, Field

from lyftdata.server.admin.schemas.base import Input

KeyStatus = Literal["live", "expired", "revoked"]


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


class PreviousKey(BaseModel):
    """An older generation of a key that still works."""

    public_id: str
    expires_at: datetime | None


class ApiKey(BaseModel):
    """
    An API key, without the key: only its digest is kept.

    `created_at` and `created_by` are of its first generation, `rotated_at` and `rotated_by` of the newest where there
    are several.
    """

    name: str
    public_id: str
    generation: int
    for_all_workers: bool
    worker_ids: list[str]
    created_at: datetime
    created_by: str
    rotated_at: datetime | None
    rotated_by: str | None
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
