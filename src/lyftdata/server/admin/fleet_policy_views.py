"""Builds the responses about the fleet policy for agent versions."""

from lyftdata.core.fleet_policy import FleetPolicyRecord, RefusedAgentRecord, VersionStanding
from lyftdata.server.admin.fleet_versions import AgentVersion, PolicyEffect
from lyftdata.server.admin.schemas import fleet_policy as models


def effect_view(
    record: FleetPolicyRecord | None,
    effect: PolicyEffect | None,
    *,
    refused_agents: list[RefusedAgentRecord],
) -> models.PolicyEffect:
    """Build the view of a policy with its effect; None if there is no policy."""
    effect = effect or PolicyEffect(affected=[], next_after=None, total=0, refused_later=0, counts={})
    return models.PolicyEffect(
        policy=None if record is None else policy_view(record),
        warned=effect.counts.get(VersionStanding.WARNED, 0),
        refused=effect.counts.get(VersionStanding.REFUSED, 0),
        refused_later=effect.refused_later,
        current=effect.counts.get(VersionStanding.CURRENT, 0),
        unknown=effect.counts.get(VersionStanding.UNKNOWN, 0),
        total=effect.total,
        items=[_affected(one) for one in effect.affected],
        next=None if effect.next_after is None else effect.next_after.encode(),
        refused_agents=[refused_agent_view(record) for record in refused_agents],
    )


def policy_view(record: FleetPolicyRecord) -> models.FleetPolicy:
    """Build the view of a policy."""
    return models.FleetPolicy(
        warn_below=record.warn_below,
        refuse_below=record.refuse_below,
        refuse_from=record.refuse_from,
        set_at=record.set_at,
        set_by=record.set_by,
    )


def refused_agent_view(record: RefusedAgentRecord) -> models.RefusedAgent:
    """Build the view of refused agents."""
    return models.RefusedAgent(
        name=record.family,
        worker_id=record.worker_id,
        version=record.version,
        hostname=record.hostname,
        address=record.address,
        attempts=record.attempts,
        starts=record.starts,
        entries=record.entries,
        first_at=record.first_at,
        last_at=record.last_at,
    )


def _affected(one: AgentVersion) -> models.AffectedWorker:
    return models.AffectedWorker(
        id=one.worker.id,
        name=one.worker.name,
        version=one.version,
        online=one.is_online,
        standing=one.standing,
        refused_from=one.refused_from,
    )
