"""
Decides what each role may do by each kind of credential, and what happens to a Worker name that is taken.
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
    Who may take an action: with which roles, by which kinds of credential, and whether those may who have a scope.

    `in_scope` alone opens nothing: the route must say as well that it stays within the caller's scope. `asks_again` says that the
    action cannot be undone: the operator must have proved lately who they are. An API token proves its secret with each request and
    cannot be asked; where that is not enough, `credentials` leaves it out.
    """

    roles: frozenset[Role]
    credentials: frozenset[CredentialKind]
    in_scope: bool = False
    asks_again: bool = False


_READ = Rule(_EVERY_ROLE, _ANY_CREDENTIAL)
_READ_IN_SCOPE = Rule(_EVERY_ROLE, _ANY_CREDENTIAL, in_scope=True)
_WRITE = Rule(_ADMINS, _ANY_CREDENTIAL)
_WRITE_IN_SCOPE = Rule(_ADMINS, _ANY_CREDENTIAL, in_scope=True)
# Persistence: a token that leaked must make no way in for people, and no way out for the audit log, that outlives its revocation.
_WRITE_IN_PERSON = Rule(_ADMINS, _SESSION_ONLY)
# Of what only Servers, or only all Workers together, have (signing keys, settings, the audit log, other operators), a scope leaves nothing.
# What cannot be undone. Session theft: an open browser or a copied cookie is not enough for it.
_FINAL = Rule(_ADMINS, _ANY_CREDENTIAL, asks_again=True)
_FINAL_IN_SCOPE = Rule(_ADMINS, _ANY_CREDENTIAL, in_scope=True, asks_again=True)
_FINAL_IN_PERSON = Rule(_ADMINS, _SESSION_ONLY, asks_again=True)

ACTIONS: Mapping[str, Rule] = {
    "workers.read": _READ_IN_SCOPE,
    "workers.write": _WRITE_IN_SCOPE,
    "workers.delete": _FINAL_IN_SCOPE,
    # The Servers, and all Workers together: counts, lost ones, history, registrations.
    "fleet.read": _READ,
    "api_keys.read": _READ_IN_SCOPE,
    "api_keys.write": _WRITE_IN_SCOPE,
    # Rotate, end the previous generation, revoke.
    "api_keys.end": _FINAL_IN_SCOPE,
    "resources.read": _READ_IN_SCOPE,
    # Not in scope: a resource is what a service outside trusts, by an audience that the operator chooses.
    "resources.write": _WRITE,
    "resources.issue_key": _FINAL,
    "resources.delete": _FINAL,
    "enrollment.read": _READ_IN_SCOPE,
    "enrollment.write": _WRITE_IN_SCOPE,
    # Rotate, end the previous generation, revoke.
    "enrollment_keys.end": _FINAL_IN_SCOPE,
    "refusals.read": _READ,
    # In person: what a leaked token ignored would go on hiding alerts after the token was revoked.
    "refusals.write": _WRITE_IN_PERSON,
    "audit.read": _READ,
    "audit.verify": _READ,
    "events.read": _READ_IN_SCOPE,
    # Admins alone: a destination names systems of the operators, and decides who else reads the audit log.
    "event_destinations.read": Rule(_ADMINS, _ANY_CREDENTIAL),
    "event_destinations.write": _WRITE_IN_PERSON,
    # Who else reads the audit log, by which secret, and who no longer does, for good or while it is paused.
    "event_destinations.redirect": _FINAL_IN_PERSON,
    "fleet_policy.read": _READ,
    "fleet_policy.write": _WRITE,
    "signing_keys.read": _READ,
    "signing_keys.write": _WRITE,
    "signing_keys.withdraw": _FINAL,
    "incident.read": _READ,
    "incident.write": _FINAL,
    # What waits for a second operator. To ask for it needs what the action itself needs.
    "change_requests.read": _READ_IN_SCOPE,
    # Withdraw one's own, give its reason.
    "change_requests.write": _WRITE_IN_SCOPE,
    # In person: a token acts for the operator who issued it, and a leaked one must be no second person.
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
        action: Of the table.
        actor: Who asks.
        in_scope: Whether what answers stays within the caller's scope. A route that does not say so is closed to who has one.

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
    Refuse what cannot be undone to an operator who has not proved lately who they are.

    Args:
        action: Of the table above.
        actor: Who asks; that they may take the action at all is checked elsewhere (`check_allowed`).
        within: How long ago they may have proved it.
        now: Aware UTC time.

    Raises:
        ReauthenticationRequiredError: It is longer ago, or not known.
    """
    rule = ACTIONS.get(action)
    if rule is None or not rule.asks_again or actor.credential is CredentialKind.API_TOKEN:
        return
    if actor.authenticated_at is None or now - actor.authenticated_at >= within:
        raise ReauthenticationRequiredError(int(within.total_seconds()))


def lesser_role(first: Role, second: Role) -> Role:
    """Return the role of the two that may do less."""
    return Role.VIEWER if Role.VIEWER in {first, second} else Role.ADMIN


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
