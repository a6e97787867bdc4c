"""
Decides which actions a second operator must confirm, by rules that an admin sets, and which changes of the rules relax them.

Without rules nothing waits for a second operator. Any rules include two actions: adding or taking over an operator, by which one person
could act as two, and relaxing the rules (docs/decisions/0048).
"""

from collections.abc import Collection
from datetime import datetime, timedelta
from enum import StrEnum

import msgspec

from lyftdata.core.errors import InvalidInputError
from lyftdata.core.structs import prepare_structs

LIFE = timedelta(hours=24)
"""How long a request waits for a second operator."""
COUNTED_WITHIN = timedelta(hours=1)
"""The Workers that one operator deletes or disables within this time are counted together, so that a large change cannot be split into small ones."""
DEFAULT_ABOVE = 10
MAX_ABOVE = 5_000


class ProtectedAction(StrEnum):
    """The actions that a second operator can be asked to confirm."""

    DELETE_WORKERS = "delete_workers"
    DISABLE_WORKERS = "disable_workers"
    WITHDRAW_SIGNING_KEY = "withdraw_signing_key"
    REFUSE_AGENTS = "refuse_agents"
    MANAGE_OPERATORS = "manage_operators"
    RELAX_RULES = "relax_rules"


MEANINGS = {
    ProtectedAction.DELETE_WORKERS: "Delete many Workers, also in an incident.",
    ProtectedAction.DISABLE_WORKERS: "Disable many Workers, also in an incident.",
    ProtectedAction.WITHDRAW_SIGNING_KEY: "Withdraw a signing key.",
    ProtectedAction.REFUSE_AGENTS: "Set a fleet policy that refuses agents.",
    ProtectedAction.MANAGE_OPERATORS: "Add an operator, make one an admin, widen or end a limit, reset a password or a second factor.",
    ProtectedAction.RELAX_RULES: "Take an action from this list, raise the number of Workers, or turn the list off.",
}
"""A description of each, for operators."""

ALWAYS = frozenset({ProtectedAction.MANAGE_OPERATORS, ProtectedAction.RELAX_RULES})
"""In every set of rules: otherwise one operator could add a second one, and confirm as that one."""

# Without the actions that stop an attack: disabling, which can be undone, and withdrawing a leaked key.
DEFAULT = ALWAYS | {ProtectedAction.DELETE_WORKERS, ProtectedAction.REFUSE_AGENTS}
"""The rules that are proposed when an admin turns this on."""


class SecondOperatorRules(msgspec.Struct, frozen=True, kw_only=True):
    """
    The rules in force.

    Attributes:
        actions: The actions that a second operator must confirm, in the order of the enumeration.
        above: How many Workers one operator may delete or disable within an hour without a second operator.
        set_at: Aware UTC time.
        set_by: Who set them, as the audit log names them.
    """

    actions: list[str]
    above: int
    set_at: datetime
    set_by: str

    def requires(self, action: ProtectedAction) -> bool:
        """Return whether an action waits for a second operator; changes of Workers only if there are too many."""
        return action in ALWAYS or action.value in self.actions

    def is_at_least(self, other: "SecondOperatorRules") -> bool:
        """Return whether these rules stop everything that the others stop."""
        return set(self.actions) >= set(other.actions) and self.above <= other.above


prepare_structs(SecondOperatorRules)


def make_rules(actions: Collection[str], above: int, *, at: datetime, by: str) -> SecondOperatorRules:
    """
    Return rules with these actions and those of `ALWAYS`.

    Raises:
        InvalidInputError: There is no such action, or the number is out of range.
    """
    unknown = sorted(set(actions) - set(ProtectedAction))
    if unknown:
        raise InvalidInputError("actions", f"must be among {', '.join(ProtectedAction)}")
    if not 0 <= above <= MAX_ABOVE:
        raise InvalidInputError("above", f"must be 0 to {MAX_ABOVE:,}")
    chosen = set(actions) | ALWAYS
    return SecondOperatorRules(
        actions=[action.value for action in ProtectedAction if action in chosen],
        above=above,
        set_at=at,
        set_by=by,
    )
