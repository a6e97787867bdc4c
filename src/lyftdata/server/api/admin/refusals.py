"""Routes of refused attempts: groups, and one attempt by its reference."""

from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Depends, Query

from lyftdata.core.actor import Actor
from lyftdata.core.errors import InvalidInputError
from lyftdata.core.refusals import all_causes, cause_of
from lyftdata.server.admin.schemas.refusals import IgnoredRefusals, Refusal, RefusalPage, ReopenedRefusals
from lyftdata.server.api.admin.access import ServicesDep, allowed

router = APIRouter()


@router.get("/refusals", tags=["refusals"], summary="List refusals")
async def list_refusals(
    _actor: Annotated[Actor, Depends(allowed("refusals.read"))],
    services: ServicesDep,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    code: Annotated[str | None, Query(max_length=64)] = None,
    q: Annotated[
        str | None, Query(min_length=1, max_length=128, description="Part of a Worker or an address.")
    ] = None,
) -> RefusalPage:
    """Return refused attempts grouped by cause, claimed Worker and address, the latest first."""
    if code is not None and cause_of(code) is None:
        # A misspelled cause would look like good news: no refusals.
        raise InvalidInputError("code", f"must be a cause of refusal, for example {all_causes()[0].code}")
    return RefusalPage(items=await services.refusal_queries.list_groups(limit=limit, code=code, q=q))


@router.post("/refusals/ignore", tags=["refusals"], status_code=204, summary="Ignore refusals for a time")
async def ignore_refusals(
    body: IgnoredRefusals, actor: Annotated[Actor, Depends(allowed("refusals.write"))], services: ServicesDep
) -> None:
    """Remove refusals of one cause from the alerts until a given time; the callers are still refused."""
    await services.refusal_inbox.ignore(
        body.code, body.subjects, for_=timedelta(seconds=body.for_s), note=body.note, actor=actor
    )


@router.post("/refusals/reopen", tags=["refusals"], status_code=204, summary="Stop ignoring refusals")
async def reopen_refusals(
    body: ReopenedRefusals, actor: Annotated[Actor, Depends(allowed("refusals.write"))], services: ServicesDep
) -> None:
    """Let refusals of one cause be alerts again before that time."""
    await services.refusal_inbox.reopen(body.code, body.subjects, actor=actor)


@router.get("/refusals/{reference}", tags=["refusals"], summary="Show a refusal")
async def show_refusal(
    reference: str, _actor: Annotated[Actor, Depends(allowed("refusals.read"))], services: ServicesDep
) -> Refusal:
    """Return one refused attempt with its full cause, by the reference that the Worker logged."""
    return await services.refusal_queries.get(reference)
