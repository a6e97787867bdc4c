"""Models of requests for a second operator in the admin API."""

from datetime import datetime
from typing import Annotated, Any

from pydantic import BaseModel, Field

from lyftdata.core.change_requests import MAX_REASON, RequestState
from lyftdata.core.second_operator import DEFAULT_ABOVE, MAX_ABOVE, ProtectedAction
from lyftdata.server.admin.schemas.base import Input, Labels

Text = Annotated[str, Field(max_length=MAX_REASON)]


class ListedRequest(BaseModel):
    """
    A change that one operator requests and another confirms.

    `statement` is what will be done, in one sentence, and `workers` how many Workers it deletes or disables. `requested_by` is the
    operator; `api_token` the token with which they requested it, null for a session. `confirmers` are those who can confirm it, empty for
    callers with a scope. `can_decide` is whether the caller can.
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
    A change that one operator requests and another confirms, in full.

    `operation` is what will be done, field by field, with the Workers by their IDs: exactly that is carried out, or nothing.
    """

    operation: dict[str, Any]


class ChangeRequests(BaseModel):
    """The requests: pending ones first, then the latest. The Workers of a request are only in the response for that one."""

    items: list[ListedRequest]


class Decision(Input):
    """The note of the operator who decides."""

    note: Text = ""


class Reason(Input):
    """The reason for a request."""

    reason: Text


class Confirmed(BaseModel):
    """
    A request that was confirmed and carried out.

    `password` is the first password of `operator`, if one was created; it is shown only here. `cut_off` is the number with which
    `/api/incident/cut-offs/{number}` shows the progress of a cut-off.
    """

    request: ChangeRequest
    password: str | None
    operator: str | None
    cut_off: int | None


class SecondOperatorInput(Input):
    """
    The actions that a second operator must confirm; no `actions` turns it off.

    `manage_operators` and `relax_rules` are always included. `above` is how many Workers one operator may delete or disable within an
    hour, if these actions are included.
    """

    actions: list[ProtectedAction]
    above: Annotated[int, Field(ge=0, le=MAX_ABOVE)] = DEFAULT_ABOVE


class ChoosableAction(BaseModel):
    """An action that a second operator can be required to confirm: whether one is, and whether that is recommended, or always the case."""

    action: ProtectedAction
    meaning: str
    required: bool
    proposed: bool
    always: bool


class SecondOperator(BaseModel):
    """The rules; `enabled` is whether there are any. `able` are the operators who could confirm a request without a scope."""

    enabled: bool
    above: int
    actions: list[ChoosableAction]
    set_at: datetime | None
    set_by: str | None
    able: list[str]
