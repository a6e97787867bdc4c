"""Models of API tokens in the admin API."""

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, Field

from lyftdata.core.api_tokens import DEFAULT_LIFE, MAX_LIFE, ApiTokenStatus
from lyftdata.core.records import Role
from lyftdata.server.admin.schemas.base import Input

_DEFAULT_LIFE_S = int(DEFAULT_LIFE.total_seconds())
_MAX_LIFE_S = int(MAX_LIFE.total_seconds())


class NewApiToken(Input):
    """
    An API token to issue; it expires after 90 days unless another life is given.

    With a `scope` it is limited to Workers with these labels; without, as far as the operator who issues it is.
    """

    name: str
    role: Role
    scope: dict[str, str] | None = None
    expires_in_s: Annotated[int, Field(gt=0, le=_MAX_LIFE_S)] = _DEFAULT_LIFE_S


class ApiToken(BaseModel):
    """
    An API token, without the token: only its digest is kept.

    It acts for `operator`, who issued it. `role` is what it was issued with; `effective_role` is what it may do now, the lesser of
    that and the operator's role, and null once the operator is deleted. `scope` are the labels of the Workers to which it is limited,
    besides those of the operator; null for no limit of its own. `last_used_at` may be ten minutes old.
    """

    name: str
    public_id: str
    role: Role
    effective_role: Role | None
    scope: dict[str, str] | None
    operator: str
    status: ApiTokenStatus
    created_at: datetime
    expires_at: datetime
    revoked_at: datetime | None
    last_used_at: datetime | None
    last_used_from: str | None


class ApiTokens(BaseModel):
    """Every API token, by name."""

    items: list[ApiToken]


class NewApiTokenAnswer(BaseModel):
    """An API token just made: `token` is shown here and nowhere else."""

    api_token: ApiToken
    token: str
