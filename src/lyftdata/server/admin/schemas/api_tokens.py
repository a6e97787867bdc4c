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
    An API token to issue; it expires after 90 days unless another lifetime is given.

    With a `scope` it is limited to Workers with these labels; without one it has the scope of the operator who issues it.
    """

    name: str
    role: Role
    scope: dict[str, str] | None = None
    expires_in_s: Annotated[int, Field(gt=0, le=_MAX_LIFE_S)] = _DEFAULT_LIFE_S


class ApiToken(BaseModel):
    """
    An API token, without the token itself: only its digest is stored.

    It acts for `operator`, who issued it. `role` is the role it was issued with; `effective_role` is what it may do now, the lesser of
    that and the operator's role, and null once the operator is deleted. `scope` are the labels that limit it to some Workers, in
    addition to those of the operator; null if it has no limit of its own. `last_used_at` may be ten minutes old.
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
    """A newly created API token: `token` is shown only here."""

    api_token: ApiToken
    token: str
