"""`/api/registrations`."""

from typing import Annotated

from fastapi import APIRouter, Depends

from lyftdata.core.actor import Actor
from lyftdata.server.admin.schemas import workers as models
from lyftdata.server.admin.views import repeated_registration_view
from lyftdata.server.api.admin.access import ServicesDep, allowed

router = APIRouter(prefix="/registrations", tags=["workers"])

Reader = Annotated[Actor, Depends(allowed("fleet.read"))]


@router.get("/repeated", summary="List clients that register again at each start")
async def list_repeated(_actor: Reader, services: ServicesDep) -> models.RepeatedRegistrationList:
    """Return the result of the last check, which is at most some seconds old."""
    groups = services.repeated_registrations.groups()
    return models.RepeatedRegistrationList(items=[repeated_registration_view(group) for group in groups])
