"""Auto-Enrollment."""

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


class EnrollmentStatus(BaseModel):
    """Whether Auto-Enrollment is on, and with which keys."""

    enabled: bool
    name_policy: NamePolicy
    keys: list[EnrollmentKeyStatus]
