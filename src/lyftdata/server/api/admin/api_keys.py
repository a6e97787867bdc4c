"""Routes of `/api/api-keys`."""

from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Depends

from lyftdata.core.actor import Actor
from lyftdata.server.admin.api_keys import IssuedKey
from lyftdata.server.admin.schemas import api_keys as models
from lyftdata.server.api.admin.access import ServicesDep, allowed
from lyftdata.server.runtime.services import Services

router = APIRouter(prefix="/api-keys", tags=["api keys"])

Reader = Annotated[Actor, Depends(allowed("api_keys.read", in_scope=True))]
Writer = Annotated[Actor, Depends(allowed("api_keys.write", in_scope=True))]
Ender = Annotated[Actor, Depends(allowed("api_keys.end", in_scope=True))]


@router.get("", summary="List API keys")
async def list_keys(actor: Reader, services: ServicesDep) -> models.ApiKeys:
    """Return every key, by name, without the keys themselves: only digests are stored."""
    return models.ApiKeys(items=await services.api_key_queries.list_all(scope=actor.scope))


@router.post("", status_code=201, summary="Issue an API key")
async def issue_key(body: models.NewApiKey, actor: Writer, services: ServicesDep) -> models.NewApiKeyAnswer:
    """Issue a key; it is only in this response."""
    life = None if body.expires_in_s is None else timedelta(seconds=body.expires_in_s)
    issued = await services.api_keys.issue(
        body.name, worker_ids=body.worker_ids, expires_in=life, actor=actor
    )
    return await _answer(services, issued, actor)


@router.get("/{name}", summary="Show an API key")
async def show_key(name: str, actor: Reader, services: ServicesDep) -> models.ApiKey:
    """Return one key, without the key itself."""
    return await services.api_key_queries.get(name, scope=actor.scope)


@router.post("/{name}/revoke", summary="Revoke an API key")
async def revoke_key(name: str, actor: Ender, services: ServicesDep) -> models.ApiKey:
    """Cut off every Worker that uses the key: at this Server before this returns, at others within a second."""
    await services.api_keys.revoke(name, actor=actor)
    return await services.api_key_queries.get(name, scope=actor.scope)


@router.post("/{name}/allow", summary="Let more Workers use an API key")
async def allow_workers(
    name: str, body: models.Allowance, actor: Writer, services: ServicesDep
) -> models.ApiKey:
    """Add Workers to those that may use a key."""
    await services.api_keys.allow(name, body.worker_ids, actor=actor)
    return await services.api_key_queries.get(name, scope=actor.scope)


@router.post("/{name}/rotate", status_code=201, summary="Rotate an API key")
async def rotate_key(
    name: str, body: models.Rotation, actor: Ender, services: ServicesDep
) -> models.NewApiKeyAnswer:
    """Create the next generation; the previous one works until the end of the grace period, or the given time."""
    grace = None if body.grace_s is None else timedelta(seconds=body.grace_s)
    issued = await services.api_keys.rotate(name, grace=grace, ends_at=body.ends_at, actor=actor)
    return await _answer(services, issued, actor)


@router.post("/{name}/end-previous", summary="End the older generations of an API key")
async def end_previous(name: str, actor: Ender, services: ServicesDep) -> models.ApiKey:
    """End a rotation early and cut off Workers that still use an older generation: at this Server before this returns, at others within a second."""
    await services.api_keys.end_previous(name, actor=actor)
    return await services.api_key_queries.get(name, scope=actor.scope)


async def _answer(services: Services, issued: IssuedKey, actor: Actor) -> models.NewApiKeyAnswer:
    view = await services.api_key_queries.get(issued.record.name, scope=actor.scope)
    return models.NewApiKeyAnswer(api_key=view, key=issued.text.reveal())
