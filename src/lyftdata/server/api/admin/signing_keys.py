"""Routes of `/api/signing-keys`."""

from typing import Annotated

from fastapi import APIRouter, Depends

from lyftdata.core.actor import Actor
from lyftdata.core.errors import InvalidInputError
from lyftdata.server.admin.schemas import signing_keys as models
from lyftdata.server.admin.views import signing_key_views
from lyftdata.server.api.admin.access import ServicesDep, allowed, require
from lyftdata.server.runtime.services import Services

router = APIRouter(prefix="/signing-keys", tags=["signing keys"])

Reader = Annotated[Actor, Depends(allowed("signing_keys.read"))]
Writer = Annotated[Actor, Depends(allowed("signing_keys.write"))]


@router.get("", summary="List signing keys")
async def list_keys(_actor: Reader, services: ServicesDep) -> models.SigningKeys:
    """Return every key in the JWKS, without private keys."""
    return await _listed(services)


@router.post("/rotate", summary="Rotate the signing keys")
async def rotate(body: models.SigningKeyRotation, actor: Writer, services: ServicesDep) -> models.SigningKeys:
    """Publish the next key, or make it sign now. Tokens of withdrawn keys are refused: at this Server before this returns, at others within a second."""
    if body.withdraw and not body.now:
        raise InvalidInputError("withdraw", "needs now: another key must sign at once")
    if body.withdraw:
        require("signing_keys.withdraw", actor=actor, services=services)
    if body.now:
        await services.signing_key_rotation.rotate_now(withdraw=frozenset(body.withdraw), actor=actor)
    else:
        await services.signing_keys.publish_next(actor=actor)
    return await _listed(services)


async def _listed(services: Services) -> models.SigningKeys:
    records = await services.signing_keys.read_all()
    return models.SigningKeys(items=signing_key_views(records, services.clock()))
