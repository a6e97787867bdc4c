"""`/api/enrollment/keys`."""

from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Depends

from lyftdata.core.actor import Actor
from lyftdata.server.admin.enrollment_keys import EnrollmentKeyRules, IssuedEnrollmentKey
from lyftdata.server.admin.enrollment_rehearsals import ChangedRules
from lyftdata.server.admin.schemas import enrollment as models
from lyftdata.server.admin.schemas.enrollment_rehearsals import (
    EnrollmentRehearsal,
    EnrollmentRehearsalRequest,
)
from lyftdata.server.api.admin.access import ServicesDep, allowed
from lyftdata.server.runtime.services import Services

router = APIRouter(prefix="/enrollment/keys", tags=["enrollment"])

Reader = Annotated[Actor, Depends(allowed("enrollment.read", in_scope=True))]
# A rehearsal replays the attempts of other Workers, including refused ones: it is not within any scope.
Rehearser = Annotated[Actor, Depends(allowed("enrollment.read"))]
Writer = Annotated[Actor, Depends(allowed("enrollment.write", in_scope=True))]
Ender = Annotated[Actor, Depends(allowed("enrollment_keys.end", in_scope=True))]


@router.get("", summary="List enrollment keys")
async def list_keys(actor: Reader, services: ServicesDep) -> models.EnrollmentKeys:
    """Return every key without the keys themselves; `startup` is the one of LYFTDATA_AUTO_ENROLLMENT_KEY."""
    return models.EnrollmentKeys(items=await services.enrollment_key_queries.list_all(scope=actor.scope))


@router.post("", status_code=201, summary="Issue an enrollment key")
async def issue_key(
    body: models.NewEnrollmentKey, actor: Writer, services: ServicesDep
) -> models.NewEnrollmentKeyAnswer:
    """Issue a key; it is only in this response."""
    rules = EnrollmentKeyRules(
        expires_in=None if body.expires_in_s is None else timedelta(seconds=body.expires_in_s),
        max_uses=body.max_uses,
        worker_name=body.worker_name,
        networks=body.networks,
        labels=body.labels,
        ephemeral=body.ephemeral,
        mode=body.mode,
        approve_name=body.approve_name,
        approve_networks=body.approve_networks,
    )
    return await _answer(services, await services.enrollment_keys.issue(body.name, rules, actor=actor), actor)


@router.get("/{name}", summary="Show an enrollment key")
async def show_key(name: str, actor: Reader, services: ServicesDep) -> models.EnrollmentKey:
    """Return one key, without the key itself."""
    return await services.enrollment_key_queries.get(name, scope=actor.scope)


@router.post("/{name}/revoke", summary="Revoke an enrollment key")
async def revoke_key(name: str, actor: Ender, services: ServicesDep) -> models.EnrollmentKey:
    """Revoke the key: it enrolls no more Workers; those that it has enrolled stay."""
    await services.enrollment_keys.revoke(name, actor=actor)
    return await services.enrollment_key_queries.get(name, scope=actor.scope)


@router.post("/{name}/rotate", status_code=201, summary="Rotate an enrollment key")
async def rotate_key(
    name: str, body: models.EnrollmentKeyRotation, actor: Ender, services: ServicesDep
) -> models.NewEnrollmentKeyAnswer:
    """Create the next generation, with the same rules; the previous one works until the end of the grace period, or the given time."""
    grace = None if body.grace_s is None else timedelta(seconds=body.grace_s)
    issued = await services.enrollment_keys.rotate(name, grace=grace, ends_at=body.ends_at, actor=actor)
    return await _answer(services, issued, actor)


@router.post("/{name}/end-previous", summary="End the older generations of an enrollment key")
async def end_previous(name: str, actor: Ender, services: ServicesDep) -> models.EnrollmentKey:
    """End a rotation early: older generations enroll no more Workers. Those that they have enrolled stay."""
    await services.enrollment_keys.end_previous(name, actor=actor)
    return await services.enrollment_key_queries.get(name, scope=actor.scope)


@router.post("/{name}/rehearse", summary="Rehearse changed rules of an enrollment key")
async def rehearse_key(
    name: str, body: EnrollmentRehearsalRequest, actor: Rehearser, services: ServicesDep
) -> EnrollmentRehearsal:
    """Replay recorded attempts against changed rules, and return which would be refused. Nothing is changed."""
    given = {rule: value for rule, value in body.model_dump().items() if value is not None}
    days, expires_in_s = given.pop("days"), given.pop("expires_in_s", None)
    if expires_in_s is not None:
        given["expires_in"] = timedelta(seconds=expires_in_s)
    found = await services.enrollment_rehearsals.rehearse(name, ChangedRules(**given), days=days)
    services.budget.charge_check(actor.account, found.attempts)
    return found


async def _answer(
    services: Services, issued: IssuedEnrollmentKey, actor: Actor
) -> models.NewEnrollmentKeyAnswer:
    view = await services.enrollment_key_queries.get(issued.record.name, scope=actor.scope)
    return models.NewEnrollmentKeyAnswer(enrollment_key=view, key=issued.text.reveal())
