"""Refused attempts."""

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
    mend: str


class RefusalPage(BaseModel):
    """Groups of refusals, the latest first."""

    items: list[RefusalGroup]


class Refusal(BaseModel):
    """One refused attempt, with the whole reason."""

    reference: str
    code: str
    at: datetime
    address: str
    claimed_worker: str
    detail: str
    proved: bool
    meaning: str
    mend: str
