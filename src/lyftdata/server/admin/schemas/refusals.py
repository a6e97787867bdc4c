"""Models of refused attempts in the admin API."""

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, Field

from lyftdata.server.admin.schemas.base import Input


class RefusalGroup(BaseModel):
    """Refused attempts of one cause, claimed Worker and address."""

    code: str
    claimed_worker: str
    address: str
    count: int
    first_at: datetime
    last_at: datetime
    last_reference: str
    last_detail: str
    meaning: str
    remedy: str


class RefusalPage(BaseModel):
    """Groups of refusals, the latest first."""

    items: list[RefusalGroup]


class Refusal(BaseModel):
    """
    One refused attempt, with its full cause.

    `api_key` is the name of the key that was presented, `other_worker` the ID of another Worker that the cause is about
    (the holder of the name, or the one that superseded it); empty if the cause has none.
    """

    reference: str
    code: str
    at: datetime
    address: str
    claimed_worker: str
    detail: str
    proved: bool
    api_key: str
    other_worker: str
    meaning: str
    remedy: str


class IgnoredRefusals(Input):
    """
    Refusals to ignore for a time: they are not alerts until then. They are still refused, counted and logged.

    `subjects` are `worker:ID`, or `address:ADDRESS` for callers that are not a known Worker.
    """

    code: str
    subjects: Annotated[list[str], Field(max_length=200)]
    for_s: Annotated[int, Field(gt=0, le=90 * 86400)]
    note: Annotated[str, Field(max_length=200)] = ""


class ReopenedRefusals(Input):
    """Refusals to stop ignoring."""

    code: str
    subjects: Annotated[list[str], Field(max_length=200)]
