"""
Decides what each role may do with each kind of credential, and what happens if a Worker name is taken.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Literal

import msgspec

from lyftdata.core.actor import Actor, CredentialKind
from lyftdata.core.errors import ForbiddenError, ReauthenticationRequiredError, SecondFactorMissingError
from lyftdata.core.records import Role, Strategy, WorkerRecord
from lyftdata.core.refusals import NameInUseError

_EVERY_ROLE = frozenset({Role.ADMIN, Role.VIEWER})
_ADMINS = frozenset({Role.ADMIN})
_SESSION_ONLY = frozenset({CredentialKind.SESSION})
_ANY_CREDENTIAL = frozenset({CredentialKind.SESSION, CredentialKind.API_TOKEN})


class Rule(msgspec.Struct, frozen=True):
    """
    Who may take an action: the roles, the kinds of credential, and whether callers with a scope may.

    `in_scope` alone opens nothing: the route must also declare that it stays within the caller's scope. `asks_again` marks an action
    that cannot be undone: the operator must have authenticated recently. An API token proves its secret with each request and cannot
    be asked again; where that is not enough, `credentials` excludes it.
    """

    roles: frozenset[Role]
    credentials: frozenset[CredentialKind]
    in_scope: bool = False
    asks_again: bool = False


_READ = Rule(_EVERY_ROLE, _ANY_CREDENTIAL)
_READ_IN_SCOPE = Rule(_EVERY_ROLE, _ANY_CREDENTIAL, in_scope=True)
_WRITE = Rule(_ADMINS, _ANY_CREDENTIAL)
_WRITE_IN_SCOPE = Rule(_ADMINS, _ANY_CREDENTIAL, in_scope=True)
# Persistence: a leaked token must not create access for people, or an export of the audit log, that outlives its revocation.
_WRITE_IN_PERSON = Rule(_ADMINS, _SESSION_ONLY)
# A caller with a scope has no access to what belongs to the Servers or to all Workers together (signing keys, settings, the audit log,
# other operators). The next three are for what cannot be undone. Session theft: an open browser or a copied cookie is not enough.
_FINAL = Rule(_ADMINS, _ANY_CREDENTIAL, asks_again=True)
_FINAL_IN_SCOPE = Rule(_ADMINS, _ANY_CREDENTIAL, in_scope=True, asks_again=True)
_FINAL_IN_PERSON = Rule(_ADMINS, _SESSION_ONLY, asks_again=True)

ACTIONS: Mapping[str, Rule] = {
    "workers.read": _READ_IN_SCOPE,
    "workers.write": _WRITE_IN_SCOPE,
    "workers.delete": _FINAL_IN_SCOPE,
    # The Servers, and all Workers together: counts, lost Workers, history, registrations.
    "fleet.read": _READ,
    "api_keys.read": _READ_IN_SCOPE,
    "api_keys.write": _WRITE_IN_SCOPE,
    # Rotate, end the previous generation, revoke.
    "api_keys.end": _FINAL_IN_SCOPE,
    "resources.read": _READ_IN_SCOPE,
    # Not in scope: external services trust a resource by its audience, which the operator chooses.
    "resources.write": _WRITE,
    "resources.issue_key": _FINAL,
    "resources.delete": _FINAL,
    "enrollment.read": _READ_IN_SCOPE,
    "enrollment.write": _WRITE_IN_SCOPE,
    # Rotate, end the previous generation, revoke.
    "enrollment_keys.end": _FINAL_IN_SCOPE,
    "refusals.read": _READ,
    # In person: refusals that a leaked token ignored would hide alerts even after the token was revoked.
    "refusals.write": _WRITE_IN_PERSON,
    # Snooze: in person, for the same reason.
    "alerts.write": _WRITE_IN_PERSON,
    "audit.read": _READ,
    "audit.verify": _READ,
    "events.read": _READ_IN_SCOPE,
    # Admins only: a destination names the operators' systems, and decides who else reads the audit log.
    "event_destinations.read": Rule(_ADMINS, _ANY_CREDENTIAL),
    "event_destinations.write": _WRITE_IN_PERSON,
    # Change who else reads the audit log and with which secret, stop or pause the delivery, or skip an event.
    "event_destinations.redirect": _FINAL_IN_PERSON,
    "fleet_policy.read": _READ,
    "fleet_policy.write": _WRITE,
    "signing_keys.read": _READ,
    "signing_keys.write": _WRITE,
    "signing_keys.withdraw": _FINAL,
    "incident.read": _READ,
    "incident.write": _FINAL,
    # Requests that wait for a second operator. Making one needs the permission of the action itself.
    "change_requests.read": _READ_IN_SCOPE,
    # Withdraw one's own, give its reason.
    "change_requests.write": _WRITE_IN_SCOPE,
    # In person: a token acts for the operator who issued it, and a leaked one must not count as a second person.
    "change_requests.decline": Rule(_ADMINS, _SESSION_ONLY, in_scope=True),
    "change_requests.confirm": Rule(_ADMINS, _SESSION_ONLY, in_scope=True, asks_again=True),
    "second_operator.read": _READ,
    "second_operator.write": _FINAL_IN_PERSON,
    "operators.read": _READ,
    # Add, delete, set the role, reset the password.
    "operators.write": _FINAL_IN_PERSON,
    "api_tokens.read": _READ_IN_SCOPE,
    "api_tokens.issue": Rule(_ADMINS, _SESSION_ONLY, in_scope=True, asks_again=True),
    "api_tokens.write": Rule(_ADMINS, _SESSION_ONLY, in_scope=True),
    "identity.read": _READ_IN_SCOPE,
    "own_account": Rule(_EVERY_ROLE, _SESSION_ONLY, in_scope=True),
    # Set up, remove, make recovery codes.
    "own_second_factor": Rule(_EVERY_ROLE, _SESSION_ONLY, in_scope=True, asks_again=True),
    "sessions.revoke_any": _WRITE_IN_PERSON,
}
"""Every action of the admin API, and who may take it; any other action is denied to everyone."""


_WITHOUT_SECOND_FACTOR = frozenset({"own_account", "own_second_factor", "identity.read"})


def is_allowed(action: str, *, actor: Actor) -> bool:
    """Return whether a caller may take an action now; an action that is not in the table is denied."""
    if _lacks_second_factor(action, actor):
        return False
    # Default deny: a route whose action was misspelt or forgotten in the table is closed, not open.
    rule = ACTIONS.get(action)
    return (
        rule is not None
        and actor.role in rule.roles
        and actor.credential in rule.credentials
        and (rule.in_scope or not actor.scope.is_limited)
    )


def check_allowed(action: str, *, actor: Actor, in_scope: bool) -> None:
    """
    Refuse an action that a caller may not take.

    Args:
        action: A key of `ACTIONS`.
        actor: The caller.
        in_scope: Whether the route stays within the caller's scope. A route that does not say so is closed to callers with a scope.

    Raises:
        SecondFactorMissingError: The session was opened without a second factor that it must have.
        ForbiddenError: Not in the table for this role, for this kind of credential, or for a caller with a scope.
    """
    if _lacks_second_factor(action, actor):
        raise SecondFactorMissingError
    if is_allowed(action, actor=actor) and (in_scope or not actor.scope.is_limited):
        return
    rule = ACTIONS.get(action)
    if rule is not None and actor.credential not in rule.credentials:
        raise ForbiddenError(
            f"An API token may not do this ({action}).", hint="Sign in as an operator: lyftdata login"
        )
    if rule is not None and actor.role in rule.roles:
        raise ForbiddenError(
            f"Your access is limited to {actor.scope.text}, which does not include this ({action}).",
            hint="Ask an admin without a scope.",
        )
    raise ForbiddenError(f"The role {actor.role.value} may not do this ({action}).", hint="Ask an admin.")


def _lacks_second_factor(action: str, actor: Actor) -> bool:
    return actor.must_add_second_factor and action not in _WITHOUT_SECOND_FACTOR


def check_recently_authenticated(action: str, *, actor: Actor, within: timedelta, now: datetime) -> None:
    """
    Refuse an action that cannot be undone to an operator who has not authenticated recently.

    Args:
        action: A key of `ACTIONS`.
        actor: The caller; whether they may take the action at all is checked elsewhere (`check_allowed`).
        within: How long ago the last authentication may have been.
        now: Aware UTC time.

    Raises:
        ReauthenticationRequiredError: It was longer ago, or its time is not known.
    """
    rule = ACTIONS.get(action)
    if rule is None or not rule.asks_again or actor.credential is CredentialKind.API_TOKEN:
        return
    if actor.authenticated_at is None or now - actor.authenticated_at >= within:
        raise ReauthenticationRequiredError(int(within.total_seconds()))


def lesser_role(first: Role, second: Role) -> Role:
    """Return the less privileged of two roles."""
    return Role.VIEWER if Role.VIEWER in {first, second} else Role.ADMIN


class NamePolicy(StrEnum):
    """What happens when a Worker with another identity key enrolls under a name that is taken."""

    SUPERSEDE_OFFLINE = "supersede-offline"
    REJECT = "reject"
    ALLOW = "allow"


class CopyPolicy(StrEnum):
    """What a directory that is refused as a copy of an identity may do until an operator decides."""

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
        # Evasion of a ban: otherwise a disabled Worker could return with a new ID once its directory is removed.
        raise NameInUseError(
            "An operator has disabled the holder; delete or rename it to free the name.",
            other_worker=holder.id,
        )
    if policy is NamePolicy.REJECT:
        raise NameInUseError(
            "The name policy is 'reject': delete or rename the holder first.", other_worker=holder.id
        )
    # Impersonation of a live Worker: a connected holder keeps its name. After a restart of the Server the caller treats every holder
    # that may still return as connected.
    if holder_online:
        raise NameInUseError("The holder is connected.", other_worker=holder.id)
    return "supersede"
