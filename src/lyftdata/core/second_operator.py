"""
For which actions a second operator must confirm: the rules that an admin sets, and which change of them is a relaxation.

Without rules nothing waits for a second operator. With rules, two actions are always among them: what makes or takes over an operator,
by which one person could act as two, and what relaxes the rules (docs/decisions/0048).
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
"""Within which time the Workers that one operator deletes or disables are counted together: many small changes are a large one."""
DEFAULT_ABOVE = 10
MAX_ABOVE = 5_000


class ProtectedAction(StrEnum):
    """What a second operator can be asked to confirm."""

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
"""What each stands for, for people."""

ALWAYS = frozenset({ProtectedAction.MANAGE_OPERATORS, ProtectedAction.RELAX_RULES})
"""Of every set of rules: without them one operator makes a second one, and confirms by that."""

# Not what stops an attack: disabling, which can be undone, and withdrawing a key that has leaked.
DEFAULT = ALWAYS | {ProtectedAction.DELETE_WORKERS, ProtectedAction.REFUSE_AGENTS}
"""What is proposed to an admin who turns it on."""


class SecondOperatorRules(msgspec.Struct, frozen=True, kw_only=True):
    """
    The rules in force.

    Attributes:
        actions: Those that a second operator must confirm, in order of the enumeration.
        above: Workers are deleted or disabled by one operator up to this number within an hour.
        set_at: Aware UTC time.
        set_by: Who set them, as the audit log names them.
    """

    actions: list[str]
    above: int
    set_at: datetime
    set_by: str

    def requires(self, action: ProtectedAction) -> bool:
        """Return whether an action waits for a second operator; of Workers, if they are too many."""
        return action in ALWAYS or action.value in self.actions

    def is_at_least(self, other: "SecondOperatorRules") -> bool:
        """Return whether these rules let nothing pass that others stop."""
        return set(self.actions) >= set(other.actions) and self.above <= other.above


prepare_structs(SecondOperatorRules)


def make_rules(actions: Collection[str], above: int, *, at: datetime, by: str) -> SecondOperatorRules:
    """
    Return rules with these actions, and those that are always among them.

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
