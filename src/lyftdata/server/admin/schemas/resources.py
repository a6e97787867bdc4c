"""Models of resources in the admin API."""

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, Field

from lyftdata.server.admin.schemas.base import Input

Selectors = Annotated[list[str], Field(max_length=1000)]


class NewResource(Input):
    """
    A service for which Workers may get tokens, selected by ID, name or label; for none unless some are selected.

    Workers that enrolled themselves chose their own names and labels: these only count with `include_enrolled`.
    """

    name: str
    audience: str
    scopes: Annotated[list[str], Field(max_length=64)] = Field(default=[])
    for_all_workers: bool = False
    include_enrolled: bool = False
    worker_ids: Selectors = Field(default=[])
    worker_names: Selectors = Field(default=[])
    labels: Selectors = Field(default=[])


class ResourceChange(Input):
    """What to change of a resource; omitted fields stay the same."""

    audience: str | None = None
    scopes: Annotated[list[str], Field(max_length=64)] | None = None
    for_all_workers: bool | None = None
    include_enrolled: bool | None = None
    worker_ids: Selectors | None = None
    worker_names: Selectors | None = None
    labels: Selectors | None = None


class Resource(BaseModel):
    """A resource; `workers` is how many Workers may now get tokens for it."""

    name: str
    audience: str
    scopes: list[str]
    for_all_workers: bool
    include_enrolled: bool
    worker_ids: list[str]
    worker_names: list[str]
    labels: list[str]
    workers: int
    has_key: bool
    created_at: datetime
    created_by: str


class Resources(BaseModel):
    """Every resource, by name."""

    items: list[Resource]


class ResourceKey(BaseModel):
    """A newly issued key of a resource: it is shown only here."""

    name: str
    key: str
