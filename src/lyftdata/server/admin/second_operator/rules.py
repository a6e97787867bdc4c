"""Sets which actions a second operator must confirm."""

from collections.abc import Collection

import msgspec

from lyftdata.core.actor import Actor
from lyftdata.core.change_requests import ChangeRules
from lyftdata.core.errors import ConflictError
from lyftdata.core.second_operator import ProtectedAction, SecondOperatorRules, make_rules
from lyftdata.server.admin.second_operator.gate import MIN_ABLE, SecondOperatorGate
from lyftdata.server.admin.second_operator.standing import able_to_confirm
from lyftdata.server.clock import Clock
from lyftdata.store import Store, WriteTx
from lyftdata.store.tables import second_operator_rules

SUBJECT = "second_operator"


class RulesNow(msgspec.Struct, frozen=True):
    """The current rules, None if no action needs a second operator, and the names of those who could confirm."""

    rules: SecondOperatorRules | None
    able: list[str]


class SecondOperatorSettings:
    """
    Reads and changes the rules. One operator can turn them on or extend them; relaxing them takes two.

    Args:
        store: Stores them.
        gate: Blocks changes that relax them.
        clock: Aware UTC time.
    """

    def __init__(self, *, store: Store, gate: SecondOperatorGate, clock: Clock) -> None:
        self._store = store
        self._gate = gate
        self._clock = clock

    async def show(self) -> RulesNow:
        """Return the rules, and who could confirm."""
        now = self._clock()
        return await self._store.read(
            lambda conn: RulesNow(
                second_operator_rules.find_rules(conn),
                [record.name for record in able_to_confirm(conn, now=now)],
            )
        )

    async def must_confirm(self, action: ProtectedAction, *, workers: int | None = None) -> bool:
        """
        Return whether a second operator must confirm an action, so that a page can say so before it is asked for.

        Does not count what the operator has done within the hour: a change of few Workers may be stopped all the same.

        Args:
            action: What is about to be done.
            workers: How many Workers it deletes or disables; None for an action that is not counted.
        """
        rules = (await self.show()).rules
        return rules is not None and rules.requires(action) and (workers is None or workers > rules.above)

    async def set(self, actions: Collection[str], above: int, *, actor: Actor) -> SecondOperatorRules | None:
        """
        Set the rules.

        Args:
            actions: What a second operator must confirm, in addition to what is always included; none turns it off.
            above: How many Workers one operator may delete or disable within an hour.
            actor: Who does it.

        Raises:
            InvalidInputError: There is no such action, or the number is out of range.
            ConflictError: `second_operator_needed`: fewer than two operators could confirm.
            SecondOperatorRequiredError: This relaxes the rules in force.
        """
        now = self._clock()
        wanted = make_rules(actions, above, at=now, by=actor.audit_name) if actions else None

        def op(tx: WriteTx) -> SecondOperatorRules | None:
            known = second_operator_rules.find_rules(tx.conn)
            if known is not None and (wanted is None or not wanted.is_at_least(known)):
                self._gate.check(tx, _relaxed(known, wanted), actor=actor)
            else:
                self._gate.pass_by(actor)
            if wanted is None:
                if second_operator_rules.clear_rules(tx):
                    tx.audit(actor.audit_event("second_operator.turned_off", SUBJECT, at=now))
                return None
            self._check_enough(tx, wanted)
            second_operator_rules.write_rules(tx, wanted)
            details = {"actions": " ".join(wanted.actions), "above": str(wanted.above)}
            tx.audit(actor.audit_event("second_operator.changed", SUBJECT, at=now, details=details))
            return wanted

        async with self._gate.asking(actor):
            return await self._store.write(op)

    def _check_enough(self, tx: WriteTx, wanted: SecondOperatorRules) -> None:
        if len(able_to_confirm(tx.conn, now=wanted.set_at)) < MIN_ABLE:
            raise ConflictError(
                "second_operator_needed",
                "Two admins without a limit are needed, who have each chosen their password: with one, nothing could be confirmed.",
                hint="Add another admin, and let them sign in.",
            )


def _relaxed(known: SecondOperatorRules, wanted: SecondOperatorRules | None) -> ChangeRules:
    return ChangeRules(
        actions=[] if wanted is None else wanted.actions,
        above=known.above if wanted is None else wanted.above,
        actions_were=known.actions,
        above_was=known.above,
    )
