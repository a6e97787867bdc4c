"""Models of the rehearsal of enrollment keys in the admin API."""

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, Field

from lyftdata.core.enrollment_rehearsal import Outcome
from lyftdata.core.enrollment_rules import MAX_NETWORKS, MAX_USES
from lyftdata.core.records import EnrollmentMode
from lyftdata.server.admin.schemas.base import Input

MAX_DAYS = 3650


class EnrollmentRehearsalRequest(Input):
    """
    Changed rules for an enrollment key; a rule that is null stays the same.

    The attempts of the last `days` are replayed. A key of mode `warn` is rehearsed as if its mode were `auto`, unless `mode` is given:
    the question is which attempts would be refused.
    """

    days: Annotated[int, Field(ge=1, le=MAX_DAYS)] = 30
    expires_in_s: Annotated[int, Field(gt=0, le=3650 * 86400)] | None = None
    max_uses: Annotated[int, Field(ge=1, le=MAX_USES)] | None = None
    worker_name: Annotated[str, Field(max_length=64)] | None = None
    networks: Annotated[list[str], Field(max_length=MAX_NETWORKS)] | None = None
    mode: EnrollmentMode | None = None
    approve_name: Annotated[str, Field(max_length=64)] | None = None
    approve_networks: Annotated[list[str], Field(max_length=MAX_NETWORKS)] | None = None


class RehearsedRules(BaseModel):
    """The rules that attempts were replayed against."""

    expires_in_s: int | None
    max_uses: int | None
    worker_name: str | None
    networks: list[str]
    mode: EnrollmentMode
    approve_name: str | None
    approve_networks: list[str]


class RehearsedAttempts(BaseModel):
    """
    Attempts with one Worker name from one address that had the same outcome, and would have the same outcome.

    `recorded` is their actual outcome, with the causes in `recorded_codes`; `outcome` is the one under the changed rules, with the causes in
    `codes`. `worker_id` is the entry of the latest one, `reference` that of the latest refusal.
    """

    worker_name: str
    address: str
    attempts: int
    first_at: datetime
    last_at: datetime
    recorded: Outcome
    recorded_codes: list[str]
    outcome: Outcome
    codes: list[str]
    worker_id: str | None
    reference: str | None


class EnrollmentRehearsal(BaseModel):
    """
    Which attempts would be refused under changed rules of an enrollment key.

    `attempts` is the number of replayed attempts; `admitted`, `pending` and `refused` count their outcomes under the changed rules. `newly_refused`
    were admitted or wait for approval, `newly_let_in` were refused. `items` are those that would be refused, and those whose outcome changes; the newly
    refused first. `left_out` groups are not listed. Attempts before `complete_since` may be missing: they were too old or too many to be kept.
    """

    key: str
    since: datetime
    complete_since: datetime
    rules: RehearsedRules
    attempts: int
    admitted: int
    pending: int
    refused: int
    newly_refused: int
    newly_let_in: int
    items: list[RehearsedAttempts]
    left_out: int
