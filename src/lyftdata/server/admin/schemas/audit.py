"""Models of the audit log in the admin API."""

from datetime import datetime

from pydantic import BaseModel


class AuditEvent(BaseModel):
    """A decision about trust, in its place in the chain."""

    number: int
    at: datetime
    actor: str
    action: str
    subject: str
    address: str
    details: dict[str, str]
    hash: str


class AuditPage(BaseModel):
    """Audit events, the latest first; `next` goes into `before` for older ones."""

    items: list[AuditEvent]
    next: int | None


class AuditReport(BaseModel):
    """What checking the chain has shown."""

    ok: bool
    checked: int
    head_number: int
    head_hash: str
    first_bad: int | None
    problem: str
