"""Sets and clears the fleet policy for agent versions, each in one transaction with its audit event."""

from datetime import datetime

from lyftdata.core.actor import Actor
from lyftdata.core.change_requests import SetFleetPolicy
from lyftdata.core.fleet_policy import FleetPolicyRecord, make_policy
from lyftdata.server.admin.second_operator.gate import SecondOperatorGate
from lyftdata.server.clock import Clock
from lyftdata.store import Store, WriteTx
from lyftdata.store.tables import fleet_policy

_SUBJECT = "fleet_policy"


class FleetPolicies:
    """
    Changes the policy; the change is in force at every Server within a second.

    Args:
        store: Holds it.
        gate: Blocks a policy that refuses agents, if a second operator must confirm it.
        clock: Returns aware UTC time.
    """

    def __init__(self, *, store: Store, gate: SecondOperatorGate, clock: Clock) -> None:
        self._store = store
        self._gate = gate
        self._clock = clock

    def make(
        self, *, warn_below: str, refuse_below: str, refuse_from: datetime | None, actor: Actor
    ) -> FleetPolicyRecord:
        """Return a policy without saving it; raises InvalidInputError like `make_policy`."""
        return make_policy(
            warn_below=warn_below,
            refuse_below=refuse_below,
            refuse_from=refuse_from,
            at=self._clock(),
            by=actor.audit_name,
        )

    async def save(self, record: FleetPolicyRecord, *, actor: Actor) -> None:
        """Save a policy, replacing the previous one; raises SecondOperatorRequiredError."""

        def op(tx: WriteTx) -> None:
            before = fleet_policy.find_policy(tx.conn)
            if record.refuse_from is not None and not _refuses_as_much(before, record):
                self._gate.check(tx, _asked(before, record, record.refuse_from), actor=actor)
            else:
                self._gate.pass_by(actor)
            fleet_policy.write_policy(tx, record)
            tx.audit(
                actor.audit_event("fleet_policy.set", _SUBJECT, at=record.set_at, details=_details(record))
            )

        async with self._gate.asking(actor):
            await self._store.write(op)

    async def clear(self, *, actor: Actor) -> None:
        """Remove the policy, if there is one: no agent is warned or refused any more."""

        def op(tx: WriteTx) -> None:
            if fleet_policy.clear_policy(tx):
                tx.audit(actor.audit_event("fleet_policy.cleared", _SUBJECT, at=self._clock()))

        await self._store.write(op)


def _refuses_as_much(before: FleetPolicyRecord | None, record: FleetPolicyRecord) -> bool:
    """Return whether a policy refuses the same versions as the previous one, from the same time on or later."""
    return (
        before is not None
        and before.refuse_from is not None
        and record.refuse_from is not None
        and before.refuse_below == record.refuse_below
        and before.refuse_from <= record.refuse_from
    )


def _asked(
    before: FleetPolicyRecord | None, record: FleetPolicyRecord, refuse_from: datetime
) -> SetFleetPolicy:
    replaced = {} if before is None else _details(before)
    return SetFleetPolicy(
        warn_below=record.warn_below,
        refuse_below=record.refuse_below,
        refuse_from=refuse_from,
        replaces=", ".join(f"{name.replace('_', ' ')} {text}" for name, text in replaced.items()),
    )


def _details(record: FleetPolicyRecord) -> dict[str, str]:
    refuse_from = record.refuse_from
    given = {
        "warn_below": record.warn_below,
        "refuse_below": record.refuse_below,
        "from": "" if refuse_from is None else f"{refuse_from:%Y-%m-%dT%H:%M:%SZ}",
    }
    return {name: value for name, value in given.items() if value}
