"""Routes of `/api/enrollment/pending`, `/api/enrollment/approve` and `/api/enrollment/deny`."""

from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, Depends

from lyftdata.core.actor import Actor
from lyftdata.server.admin.approvals import Decided
from lyftdata.server.admin.schemas import approvals as models
from lyftdata.server.api.admin.access import ServicesDep, allowed

router = APIRouter(prefix="/enrollment", tags=["enrollment"])

Reader = Annotated[Actor, Depends(allowed("enrollment.read", in_scope=True))]
Writer = Annotated[Actor, Depends(allowed("enrollment.write", in_scope=True))]


@router.get("/pending", summary="List Workers that wait for approval")
async def list_pending(actor: Reader, services: ServicesDep) -> models.PendingWorkers:
    """Return the Workers that wait for approval, with what is known about each."""
    return models.PendingWorkers(items=await services.approval_queries.list_pending(scope=actor.scope))


@router.post("/approve", summary="Approve Workers")
async def approve(
    body: models.ApprovalDecision, actor: Writer, services: ServicesDep
) -> models.DecidedWorkers:
    """Approve Workers that are pending, denied or expired; one that cannot be approved does not affect the others."""
    return _answer(await services.approvals.approve(body.worker_ids, actor=actor))


@router.post("/deny", summary="Deny Workers")
async def deny(body: models.ApprovalDecision, actor: Writer, services: ServicesDep) -> models.DecidedWorkers:
    """Deny pending Workers: their programs end. They can still be approved while their entries exist."""
    return _answer(await services.approvals.deny(body.worker_ids, actor=actor))


def _answer(decided: Sequence[Decided]) -> models.DecidedWorkers:
    return models.DecidedWorkers(
        items=[
            models.DecidedWorker(
                id=one.worker_id,
                name=one.name or None,
                problem=one.problem or None,
                detail=one.detail or None,
            )
            for one in decided
        ]
    )
