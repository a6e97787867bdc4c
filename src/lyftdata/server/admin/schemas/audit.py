"""Models of the audit log in the admin API."""

from datetime import datetime

from pydantic import BaseModel

from lyftdata.core.access_history import Access
from lyftdata.core.records import Strategy


class AuditEvent(BaseModel):
    """An audit event with its position in the chain."""

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


class AuditKey(BaseModel):
    """The key that checks signed checkpoints, as NAME+ID+KEY (C2SP signed-note), and the name of the log."""

    key: str
    origin: str


class AuditCheckpoint(BaseModel):
    """The last signed checkpoint, as text; `size` and `root` are also in it. `key` checks it."""

    size: int
    root: str
    signed_at: datetime
    note: str
    key: str


class WorkerAccess(BaseModel):
    """A Worker as it was; `by` names the API keys, or the thumbprint of the identity key, that were valid then."""

    worker_id: str
    name: str
    strategy: Strategy
    access: Access
    by: list[str]


class AccessReport(BaseModel):
    """Which Workers had access at a time, and which issued enrollment keys could add others."""

    at: datetime
    workers: list[WorkerAccess]
    enrollment_keys: list[str]


class AuditReport(BaseModel):
    """The result of checking the chain; `removed` events were pruned because of their age."""

    ok: bool
    checked: int
    removed: int
    head_number: int
    head_hash: str
    first_bad: int | None
    problem: str
