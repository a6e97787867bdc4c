"""Routes of Auto-Enrollment for operators."""

from typing import Annotated

from fastapi import APIRouter, Depends

from lyftdata.core.actor import Actor
from lyftdata.server.admin.schemas.enrollment import EnrollmentStatus
from lyftdata.server.api.admin.access import ServicesDep, allowed

router = APIRouter()


@router.get("/enrollment", tags=["enrollment"], summary="Show Auto-Enrollment")
async def enrollment(
    _actor: Annotated[Actor, Depends(allowed("enrollment.read"))], services: ServicesDep
) -> EnrollmentStatus:
    """Return whether it is on, and the fingerprints of the current secrets."""
    return await services.enrollment_queries.show()
