"""`/api/fleet/policy` and `/api/fleet/versions`."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query

from lyftdata.core.actor import Actor
from lyftdata.core.fleet_policy import FleetPolicy
from lyftdata.server.admin.fleet_policy_views import effect_view
from lyftdata.server.admin.fleet_versions import ListPosition
from lyftdata.server.admin.schemas import fleet_policy as models
from lyftdata.server.api.admin.access import ServicesDep, allowed

router = APIRouter(prefix="/fleet", tags=["server"])

Reader = Annotated[Actor, Depends(allowed("fleet_policy.read"))]
Writer = Annotated[Actor, Depends(allowed("fleet_policy.write"))]
Limit = Annotated[int, Query(ge=0, le=1_000, description="List at most this many Workers.")]
After = Annotated[str | None, Query(max_length=500, description="`next` of the previous page.")]


@router.get("/versions", summary="Count the versions of agents")
async def list_versions(_actor: Reader, services: ServicesDep) -> models.VersionShares:
    """Return how many Workers' agents have each version, as last reported."""
    shares = await services.fleet_versions.shares()
    return models.VersionShares(
        items=[
            models.VersionShare(
                version=one.version, workers=one.workers, online=one.online, standing=one.standing
            )
            for one in shares
        ]
    )


@router.get("/versions/history", summary="Show the versions of agents over time")
async def show_version_history(
    _actor: Reader, services: ServicesDep, period: models.VersionPeriod = models.VersionPeriod.WEEK
) -> models.VersionHistory:
    """
    Return how many Workers' agents had each version in each hour of a week, or on each day of a quarter or a year.

    Hours are kept for 8 days, days for 400. A step has at most 12 versions; Workers of others are counted together.
    """
    return await services.version_histories.of(period)


@router.get("/policy", summary="Show the fleet policy")
async def show_policy(
    _actor: Reader, services: ServicesDep, limit: Limit = 1_000, after: After = None
) -> models.PolicyEffect:
    """Return the policy and the Workers that it warns or refuses; without a policy, none."""
    policy = services.directory.fleet_policy
    return effect_view(
        None if policy is None else policy.record,
        None
        if policy is None
        else await services.fleet_versions.effect_of(policy, limit=limit, after=_position(after)),
        refused_agents=await services.fleet_versions.refused(),
    )


@router.post("/policy/preview", summary="Preview a fleet policy")
async def preview_policy(
    body: models.FleetPolicyInput,
    actor: Reader,
    services: ServicesDep,
    limit: Limit = 1_000,
    after: After = None,
) -> models.PolicyEffect:
    """Return the Workers that a policy would warn or refuse, and change nothing."""
    record = services.fleet_policies.make(
        warn_below=body.warn_below, refuse_below=body.refuse_below, refuse_from=body.refuse_from, actor=actor
    )
    effect = await services.fleet_versions.effect_of(FleetPolicy(record), limit=limit, after=_position(after))
    return effect_view(record, effect, refused_agents=[])


@router.put("/policy", summary="Set the fleet policy")
async def set_policy(
    body: models.FleetPolicyInput, actor: Writer, services: ServicesDep, limit: Limit = 1_000
) -> models.PolicyEffect:
    """Set the policy, replacing the previous one, and return the Workers that it affects; those that it refuses now are disconnected."""
    record = services.fleet_policies.make(
        warn_below=body.warn_below, refuse_below=body.refuse_below, refuse_from=body.refuse_from, actor=actor
    )
    effect = await services.fleet_versions.effect_of(FleetPolicy(record), limit=limit)
    await services.fleet_policies.save(record, actor=actor)
    return effect_view(record, effect, refused_agents=[])


@router.delete("/policy", status_code=204, summary="Clear the fleet policy")
async def clear_policy(actor: Writer, services: ServicesDep) -> None:
    """Remove the policy: Workers that it refused reconnect by themselves."""
    await services.fleet_policies.clear(actor=actor)


def _position(after: str | None) -> ListPosition | None:
    return None if after is None else ListPosition.decode(after)
