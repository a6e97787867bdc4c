"""Models of API keys in the admin API."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, Field

from lyftdata.server.admin.schemas.base import Input, Moment

KeyStatus = Literal["live", "expired", "revoked"]


class NewApiKey(Input):
    """An API key to issue; `worker_ids` null means every Worker of strategy `api_key`."""

    name: str
    worker_ids: Annotated[list[str], Field(max_length=1000)] | None = None
    expires_in_s: Annotated[int, Field(gt=0, le=3650 * 86400)] | None = None


class Allowance(Input):
    """More Workers that may use a key."""

    worker_ids: Annotated[list[str], Field(max_length=1000)]


class Rotation(Input):
    """
    How long the replaced key still works: for `grace_s` seconds, or until `ends_at`.

    Give at most one of them; with neither it ends at once.
    """

    grace_s: Annotated[int, Field(ge=0, le=90 * 86400)] | None = None
    ends_at: Moment | None = None


class LaggingWorker(BaseModel):
    """A Worker that still uses an older generation of a key; `last_used_at` is when it last got a token with it."""

    id: str
    online: bool
    last_used_at: datetime | None


class PreviousKey(BaseModel):
    """
    An older generation of a key that still works, and the Workers that still use it.

    A Worker is listed if it is connected with this generation, or used it last. It disappears from the list once it uses the
    newest one. `ends_in_s` counts down to `expires_at`.
    """

    public_id: str
    generation: int
    expires_at: datetime | None
    ends_in_s: int | None
    workers: list[LaggingWorker]


class ApiKey(BaseModel):
    """
    An API key, without the key itself: only its digest is stored.

    `created_at` and `created_by` are those of its first generation, `rotated_at` and `rotated_by` those of the newest if there
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
    """A newly created key: `key` is shown only here."""

    api_key: ApiKey
    key: str
