"""Routes of `/api/change-requests` and `/api/second-operator`."""

from typing import Annotated

from fastapi import APIRouter, Depends

from lyftdata.core.actor import Actor
from lyftdata.server.admin.schemas import change_requests as models
from lyftdata.server.admin.second_operator.views import listed_view, request_view, rules_view
from lyftdata.server.api.admin.access import ServicesDep, allowed
from lyftdata.server.runtime.services import Services

router = APIRouter(tags=["second operator"])

Reader = Annotated[Actor, Depends(allowed("change_requests.read", in_scope=True))]
Writer = Annotated[Actor, Depends(allowed("change_requests.write", in_scope=True))]
Decliner = Annotated[Actor, Depends(allowed("change_requests.decline", in_scope=True))]
Confirmer = Annotated[Actor, Depends(allowed("change_requests.confirm", in_scope=True))]
RulesReader = Annotated[Actor, Depends(allowed("second_operator.read"))]
RulesWriter = Annotated[Actor, Depends(allowed("second_operator.write"))]


@router.get("/change-requests", summary="List what waits for a second operator")
async def list_requests(actor: Reader, services: ServicesDep) -> models.ChangeRequests:
    """
    Return the requests within the caller's scope: pending ones first, then those of the last 30 days.

    Each has the number of its Workers; the request itself lists them.
    """
    found = await services.change_request_queries.list(actor=actor)
    return models.ChangeRequests(items=[listed_view(one) for one in found])


@router.get("/change-requests/{request_id}", summary="Show a request")
async def show_request(request_id: str, actor: Reader, services: ServicesDep) -> models.ChangeRequest:
    """Return what was requested, by whom, and its state."""
    return await _shown(services, request_id, actor)


@router.post("/change-requests/{request_id}/confirm", summary="Confirm another operator's request")
async def confirm_request(
    request_id: str, body: models.Decision, actor: Confirmer, services: ServicesDep
) -> models.Confirmed:
    """
    Confirm the request and carry it out, both or neither. Not allowed for the requester, nor for an API token.

    409 `effect_changed` if, in the current state, it would do anything other than what was requested.
    """
    outcome = await services.change_requests.confirm(request_id, body.note, actor=actor)
    return models.Confirmed(
        request=await _shown(services, request_id, actor),
        password=None if outcome.password is None else outcome.password.reveal(),
        operator=outcome.operator or None,
        cut_off=outcome.cut_off,
    )


@router.post("/change-requests/{request_id}/decline", summary="Decline another operator's request")
async def decline_request(
    request_id: str, body: models.Decision, actor: Decliner, services: ServicesDep
) -> models.ChangeRequest:
    """Decline the request: nothing is done."""
    await services.change_requests.decline(request_id, body.note, actor=actor)
    return await _shown(services, request_id, actor)


@router.post("/change-requests/{request_id}/withdraw", summary="Withdraw your own request")
async def withdraw_request(request_id: str, actor: Writer, services: ServicesDep) -> models.ChangeRequest:
    """Withdraw the request while it is pending."""
    await services.change_requests.withdraw(request_id, actor=actor)
    return await _shown(services, request_id, actor)


@router.post("/change-requests/{request_id}/reason", summary="Give the reason for your own request")
async def explain_request(
    request_id: str, body: models.Reason, actor: Writer, services: ServicesDep
) -> models.ChangeRequest:
    """Give the reason, once, while the request is pending."""
    await services.change_requests.explain(request_id, body.reason, actor=actor)
    return await _shown(services, request_id, actor)


@router.get("/second-operator", summary="Show which actions a second operator must confirm")
async def show_rules(_actor: RulesReader, services: ServicesDep) -> models.SecondOperator:
    """Return every action that can be chosen, and which ones are."""
    return rules_view(await services.second_operator_settings.show())


@router.put("/second-operator", summary="Set which actions a second operator must confirm")
async def set_rules(
    body: models.SecondOperatorInput, actor: RulesWriter, services: ServicesDep
) -> models.SecondOperator:
    """Turning it on or adding actions takes effect at once; relaxing it must itself be confirmed by a second operator."""
    await services.second_operator_settings.set(body.actions, body.above, actor=actor)
    return rules_view(await services.second_operator_settings.show())


async def _shown(services: Services, request_id: str, actor: Actor) -> models.ChangeRequest:
    return request_view(await services.change_request_queries.get(request_id, actor=actor))
