"""Models of resources in the admin API."""

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, Field

from lyftdata.server.admin.schemas.base import Input

Selectors = Annotated[list[str], Field(max_length=1000)]


class NewResource(Input):
    """
    A service for which Workers may get tokens, chosen by ID, name or label; for none unless some are chosen.

    Names and labels of Workers that enrolled themselves are their own word: `include_enrolled` lets them count.
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
    """What to change of a resource; what is left out stays."""

    audience: str | None = None
    scopes: Annotated[list[str], Field(max_length=64)] | None = None
    for_all_workers: bool | None = None
    include_enrolled: bool | None = None
    worker_ids: Selectors | None = None
    worker_names: Selectors | None = None
    labels: Selectors | None = None


class Resource(BaseModel):
    """A resource; `workers` is how many Workers may have tokens for it now."""

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
    """A resource's key, just made: it is shown here and nowhere else."""

    name: str
    key: str
