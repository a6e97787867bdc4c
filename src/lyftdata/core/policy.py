"""
Decides what each role may do, and what happens to a Worker name that is taken.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Literal

from lyftdata.core.errors import ForbiddenError
from lyftdata.core.records import Role, Strategy, WorkerRecord
from lyftdata.core.refusals import NameInUseError

_EVERY_OPERATOR = frozenset({Role.ADMIN, Role.VIEWER})
_ADMINS = frozenset({Role.ADMIN})

ACTIONS: Mapping[str, frozenset[Role]] = {
    "workers.read": _EVERY_OPERATOR,
    "workers.write": _ADMINS,
    "api_keys.read": _EVERY_OPERATOR,
    "api_keys.write": _ADMINS,
    "resources.read": _EVERY_OPERATOR,
    "resources.write": _ADMINS,
    "enrollment.read": _EVERY_OPERATOR,
    "enrollment.write": _ADMINS,
    "refusals.read": _EVERY_OPERATOR,
    "audit.read": _EVERY_OPERATOR,
    "audit.verify": _EVERY_OPERATOR,
    "events.read": _EVERY_OPERATOR,
    # Admins alone: a destination names systems of the operators, and decides who else reads the audit log.
    "event_destinations.read": _ADMINS,
    "event_destinations.write": _ADMINS,
    "signing_keys.read": _EVERY_OPERATOR,
    "signing_keys.write": _ADMINS,
    "incident.read": _EVERY_OPERATOR,
    "incident.write": _ADMINS,
    "operators.read": _EVERY_OPERATOR,
    "operators.write": _ADMINS,
    "own_account": _EVERY_OPERATOR,
    "sessions.revoke_any": _ADMINS,
}
"""Every action of the admin API and the roles that may take it; any other action is denied to every role."""


def is_allowed(action: str, *, role: Role) -> bool:
    """Return whether a role may take an action; an action that is not in the table is denied."""
    # Default deny: a route whose action was misspelt or forgotten in the table is closed, not open.
    return role in ACTIONS.get(action, frozenset())


def check_allowed(action: str, *, role: Role) -> None:
    """
    Refuse an action that a role may not take.

    Raises:
        ForbiddenError: Not in the table for this role.
    """
    if not is_allowed(action, role=role):
        raise ForbiddenError(f"The role {role.value} may not do this ({action}).", hint="Ask an admin.")


class NamePolicy(StrEnum):
    """What happens when a Worker with another identity key enrolls under a name that is taken."""

    SUPERSEDE_OFFLINE = "supersede-offline"
    REJECT = "reject"
    ALLOW = "allow"


class CopyPolicy(StrEnum):
    """What happens to a directory that is refused as a copy of an identity, until an operator decides."""

    REFUSE = "refuse"
    AS_NEW = "as-new"


def decide_same_name(
    *, policy: NamePolicy, holder: WorkerRecord, holder_online: bool
) -> Literal["supersede", "coexist"]:
    """
    Decide what happens to the holder of a name when a Worker with another key asks for it.

    Attack: taking over a Worker's name, and with it whatever is granted by name, with the enrollment key alone.

    Raises:
        NameInUseError: The new Worker must wait or take another name.
    """
    if policy is NamePolicy.ALLOW:
        return "coexist"
    if holder.strategy is Strategy.API_KEY:
        # Privilege escalation: an operator made that entry; knowing the enrollment key must not be enough to replace it.
        raise NameInUseError(
            "The holder was added by an operator and is never superseded.", other_worker=holder.id
        )
    if not holder.enabled:
        # Evasion of a ban: otherwise a disabled Worker would be back with a new ID as soon as its directory is removed.
        raise NameInUseError(
            "An operator has disabled the holder; delete or rename it to free the name.",
            other_worker=holder.id,
        )
    if policy is NamePolicy.REJECT:
        raise NameInUseError(
            "The name policy is 'reject': delete or rename the holder first.", other_worker=holder.id
        )
    # Impersonation of a live Worker: a connected holder keeps its name. After a restart of the Server the caller treats as connected
    # every holder that may still return.
    if holder_online:
        raise NameInUseError("The holder is connected.", other_worker=holder.id)
    return "supersede"
