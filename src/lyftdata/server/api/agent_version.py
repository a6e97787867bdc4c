"""Checks the version that an agent reports against the fleet policy, before admitting its session."""

from typing import Any

from lyftdata.core.fleet_policy import VersionStanding
from lyftdata.server.admission.token_verifier import VerifiedWorker
from lyftdata.server.runtime.services import Services
from lyftdata.server.sessions.session import Boot, Directive


async def check_agent_version(
    services: Services, verified: VerifiedWorker, boot: Boot
) -> dict[str, Any] | None:
    """
    Return a warning for an agent that is older than the fleet policy wants; None if there is none.

    This is hygiene, not a security boundary: see `core.fleet_policy`. Without a policy it costs nothing, with one a lookup.

    Raises:
        AgentTooOldError: The policy refuses the agent; if it was connected, its session has ended.
    """
    policy = services.directory.fleet_policy
    if policy is None:
        return None
    now, version = services.clock(), boot.host.get("agent_version", "")
    match policy.standing_of(version, now=now):
        case VersionStanding.WARNED:
            refused_from = policy.refused_from(version)
            since = {} if refused_from is None else {"refused_from": f"{refused_from:%Y-%m-%dT%H:%M:%SZ}"}
            return {"minimum": policy.minimum, **since}
        case VersionStanding.REFUSED:
            refused = policy.refusal(version, worker_id=verified.worker.id)
            services.refused_agents.note(verified.worker, boot, at=now)
            await _end_session(services, verified, boot, reason=refused.code)
            raise refused
        case _:
            return None


async def _end_session(services: Services, verified: VerifiedWorker, boot: Boot, *, reason: str) -> None:
    """End the session of this boot, if there is one: otherwise it would be shown as lost once it stops polling."""
    worker_id = verified.worker.id
    session = services.sessions.find(worker_id)
    if session is None or session.boot.boot_id != boot.boot_id:
        return
    async with services.cluster.claim_slot(worker_id, boot, verified.claims.cred) as place:
        services.sessions.attach(verified.worker, boot, verified.claims.cred, since=place.since)
    services.sessions.stop(worker_id, Directive(kind="stop", code=reason))
