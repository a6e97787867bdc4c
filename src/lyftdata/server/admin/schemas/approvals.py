"""Models of Workers that wait for approval in the admin API."""

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, Field

from lyftdata.server.admin.schemas.base import Input

MAX_AT_ONCE = 1_000


class PendingWorker(BaseModel):
    """
    A Worker that waits for approval.

    `thumbprint` is the fingerprint of its identity key, which its host logs. `address` is where it enrolled from; `host` is what it reports
    about itself. `enrollment_key` is the name of the key with which it enrolled, null if that no longer exists. `name_holder` is the ID of the Worker that has its name now.
    """

    id: str
    name: str
    thumbprint: str
    address: str | None
    enrollment_key: str | None
    enrolled_with: str | None
    labels: dict[str, str]
    host: dict[str, str]
    requested_at: datetime
    expires_at: datetime
    name_holder: str | None


class PendingWorkers(BaseModel):
    """The Workers that wait for approval, those waiting longest first."""

    items: list[PendingWorker]


class ApprovalDecision(Input):
    """The Workers to decide about, by ID."""

    worker_ids: Annotated[
        list[Annotated[str, Field(max_length=64)]], Field(min_length=1, max_length=MAX_AT_ONCE)
    ]


class DecidedWorker(BaseModel):
    """
    A Worker that was decided about.

    `problem` is null if the decision was made, or had been made before; otherwise `worker_not_found`, `worker_not_pending` (it
    never needed approval), `worker_name_taken`, `worker_approved` or `outside_scope` (it would get tokens for a resource outside the
    caller's scope), with a sentence in `detail`.
    """

    id: str
    name: str | None
    problem: str | None
    detail: str | None


class DecidedWorkers(BaseModel):
    """The result of a decision for each Worker, in the order given."""

    items: list[DecidedWorker]
