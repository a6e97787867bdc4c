"""Models of refused attempts in the admin API."""

from datetime import datetime

from pydantic import BaseModel


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
    One refused attempt, with the whole reason.

    `api_key` is the name of the key that was presented, `other_worker` the ID of another Worker that the cause is about
    (the holder of the name, or who took it over); empty where the cause has none.
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
