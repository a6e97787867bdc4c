"""Routes of `/api/api-tokens`."""

from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Depends

from lyftdata.core.actor import Actor
from lyftdata.server.admin.schemas import api_tokens as models
from lyftdata.server.api.admin.access import ServicesDep, allowed

router = APIRouter(prefix="/api-tokens", tags=["api tokens"])

Reader = Annotated[Actor, Depends(allowed("api_tokens.read", in_scope=True))]
Writer = Annotated[Actor, Depends(allowed("api_tokens.write", in_scope=True))]
Issuer = Annotated[Actor, Depends(allowed("api_tokens.issue", in_scope=True))]


@router.get("", summary="List API tokens")
async def list_tokens(actor: Reader, services: ServicesDep) -> models.ApiTokens:
    """Return every token whose scope is no wider than the caller's, by name, without the tokens themselves: only digests are stored."""
    return models.ApiTokens(items=await services.api_tokens.list(actor=actor))


@router.post("", status_code=201, summary="Issue an API token")
async def issue_token(
    body: models.NewApiToken, actor: Issuer, services: ServicesDep
) -> models.NewApiTokenAnswer:
    """Issue a token that acts for the calling operator; it is only in this response."""
    issued = await services.api_tokens.issue(
        body.name,
        body.role,
        scope=body.scope,
        expires_in=timedelta(seconds=body.expires_in_s),
        actor=actor,
    )
    return models.NewApiTokenAnswer(api_token=issued.shown, token=issued.text.reveal())


@router.get("/{name}", summary="Show an API token")
async def show_token(name: str, actor: Reader, services: ServicesDep) -> models.ApiToken:
    """Return one token, without the token itself."""
    return await services.api_tokens.get(name, actor=actor)


@router.post("/{name}/revoke", summary="Revoke an API token")
async def revoke_token(name: str, actor: Writer, services: ServicesDep) -> models.ApiToken:
    """Revoke a token: every Server rejects it from the next request on."""
    return await services.api_tokens.revoke(name, actor=actor)
