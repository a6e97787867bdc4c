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
    Return the requests within the caller's scope: those that wait first, then those of the last 30 days.

    Each with the number of its Workers; which they are, the request itself says.
    """
    found = await services.change_request_queries.list(actor=actor)
    return models.ChangeRequests(items=[listed_view(one) for one in found])


@router.get("/change-requests/{request_id}", summary="Show a request")
async def show_request(request_id: str, actor: Reader, services: ServicesDep) -> models.ChangeRequest:
    """Return what was asked for, by whom, and how it stands."""
    return await _shown(services, request_id, actor)


@router.post("/change-requests/{request_id}/confirm", summary="Confirm what another operator asks for")
async def confirm_request(
    request_id: str, body: models.Decision, actor: Confirmer, services: ServicesDep
) -> models.Confirmed:
    """
    Confirm it, and carry it out, both or neither. Not for the one who has asked, nor for an API token.

    409 `effect_changed` where it would do anything but what was asked for, by the state of this moment.
    """
    outcome = await services.change_requests.confirm(request_id, body.note, actor=actor)
    return models.Confirmed(
        request=await _shown(services, request_id, actor),
        password=None if outcome.password is None else outcome.password.reveal(),
        operator=outcome.operator or None,
        cut_off=outcome.cut_off,
    )


@router.post("/change-requests/{request_id}/decline", summary="Decline what another operator asks for")
async def decline_request(
    request_id: str, body: models.Decision, actor: Decliner, services: ServicesDep
) -> models.ChangeRequest:
    """Decline it: nothing is done."""
    await services.change_requests.decline(request_id, body.note, actor=actor)
    return await _shown(services, request_id, actor)


@router.post("/change-requests/{request_id}/withdraw", summary="Withdraw what one has asked for")
async def withdraw_request(request_id: str, actor: Writer, services: ServicesDep) -> models.ChangeRequest:
    """Take it back, while it waits."""
    await services.change_requests.withdraw(request_id, actor=actor)
    return await _shown(services, request_id, actor)


@router.post("/change-requests/{request_id}/reason", summary="Give the reason for what one has asked for")
async def explain_request(
    request_id: str, body: models.Reason, actor: Writer, services: ServicesDep
) -> models.ChangeRequest:
    """Say why, once, while it waits."""
    await services.change_requests.explain(request_id, body.reason, actor=actor)
    return await _shown(services, request_id, actor)


@router.get("/second-operator", summary="Show for what a second operator must confirm")
async def show_rules(_actor: RulesReader, services: ServicesDep) -> models.SecondOperator:
    """Return every action that can be chosen, and which are."""
    return rules_view(await services.second_operator_settings.show())


@router.put("/second-operator", summary="Set for what a second operator must confirm")
async def set_rules(
    body: models.SecondOperatorInput, actor: RulesWriter, services: ServicesDep
) -> models.SecondOperator:
    """Turn it on or add to it at once; what relaxes it waits for a second operator itself."""
    await services.second_operator_settings.set(body.actions, body.above, actor=actor)
    return rules_view(await services.second_operator_settings.show())


async def _shown(services: Services, request_id: str, actor: Actor) -> models.ChangeRequest:
    return request_view(await services.change_request_queries.get(request_id, actor=actor))
