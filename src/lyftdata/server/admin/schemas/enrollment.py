"""Models of Auto-Enrollment in the admin API."""

from datetime import datetime

from pydantic import BaseModel

from lyftdata.core.policy import NamePolicy


class EnrollmentKeyStatus(BaseModel):
    """An enrollment key that the Server accepts, by fingerprint."""

    fingerprint: str
    role: str
    warnings: list[str]
    workers: int
    last_used_at: datetime | None


class PreviousIssuer(BaseModel):
    """An address that the Server had before, and how many Workers still sign for it."""

    issuer: str
    workers: int


class EnrollmentStatus(BaseModel):
    """Whether Auto-Enrollment is on, and with which keys."""

    enabled: bool
    name_policy: NamePolicy
    keys: list[EnrollmentKeyStatus]
    previous_issuers: list[PreviousIssuer]
