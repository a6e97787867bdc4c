"""Models of what a second operator confirms, in the admin API."""

from datetime import datetime
from typing import Annotated, Any

from pydantic import BaseModel, Field

from lyftdata.core.change_requests import MAX_REASON, RequestState
from lyftdata.core.second_operator import DEFAULT_ABOVE, MAX_ABOVE, ProtectedAction
from lyftdata.server.admin.schemas.base import Input, Labels

Text = Annotated[str, Field(max_length=MAX_REASON)]


class ListedRequest(BaseModel):
    """
    Something that one operator asks for and another confirms.

    `statement` is what will be done, in one sentence, and `workers` how many Workers are deleted or disabled by it. `requested_by` is the
    operator; `api_token` the token by which they asked, null for a session. `confirmers` are those who can confirm it, empty for callers
    with a scope. `can_decide` is whether the caller can.
    """

    id: str
    state: RequestState
    action: ProtectedAction
    statement: str
    workers: int
    requested_by: str
    api_token: str | None
    scope: Labels | None
    reason: str
    requested_at: datetime
    expires_at: datetime
    decided_at: datetime | None
    decided_by: str | None
    note: str
    can_decide: bool
    confirmers: list[str]


class ChangeRequest(ListedRequest):
    """
    Something that one operator asks for and another confirms, in full.

    `operation` is what will be done, field by field, with the Workers by their IDs: what is carried out is that, or nothing.
    """

    operation: dict[str, Any]


class ChangeRequests(BaseModel):
    """The requests: those that wait first, then the latest. The Workers of each are in the answer for that one alone."""

    items: list[ListedRequest]


class Decision(Input):
    """What the one who decides says about it."""

    note: Text = ""


class Reason(Input):
    """Why something is asked for."""

    reason: Text


class Confirmed(BaseModel):
    """
    A request that was confirmed and carried out.

    `password` is the first password of `operator`, shown here and nowhere else, where one was made. `cut_off` is the number by which
    `/api/incident/cut-offs/{number}` shows the progress of a cut-off.
    """

    request: ChangeRequest
    password: str | None
    operator: str | None
    cut_off: int | None


class SecondOperatorInput(Input):
    """
    For what a second operator must confirm; no `actions` turns it off.

    `manage_operators` and `relax_rules` are always among them. `above` is how many Workers one operator may delete or disable within an
    hour, where these are among them.
    """

    actions: list[ProtectedAction]
    above: Annotated[int, Field(ge=0, le=MAX_ABOVE)] = DEFAULT_ABOVE


class ChoosableAction(BaseModel):
    """An action that a second operator can be asked to confirm: whether one is, and whether that is proposed, or always so."""

    action: ProtectedAction
    meaning: str
    required: bool
    proposed: bool
    always: bool


class SecondOperator(BaseModel):
    """The rules; `enabled` is whether there are any. `able` are the operators who could confirm what has no scope."""

    enabled: bool
    above: int
    actions: list[ChoosableAction]
    set_at: datetime | None
    set_by: str | None
    able: list[str]
