"""Who may do what, row by row, and what happens to a name that is already used."""

import contextlib
from datetime import timedelta

import msgspec
import pytest
from tests.builders import NOON, worker

from lyftdata.core.actor import Actor
from lyftdata.core.errors import ForbiddenError, ReauthenticationRequiredError
from lyftdata.core.policy import (
    ACTIONS,
    NamePolicy,
    check_allowed,
    check_recently_authenticated,
    decide_same_name,
    is_allowed,
    lesser_role,
)
from lyftdata.core.records import Role, Strategy
from lyftdata.core.refusals import NameInUseError
from lyftdata.core.scopes import UNLIMITED, scope_of


def caller(role, *, api_token=None, scope=UNLIMITED):
    """Return an operator with this role, or an API token that acts for one."""
    return Actor(
        operator="ada", role=role, session_id="s", address="192.0.2.1", api_token=api_token, scope=scope
    )


FOR_ADMINS = {
    "event_destinations.read",
    "event_destinations.write",
    "workers.write",
    "api_keys.write",
    "enrollment.write",
    "fleet_policy.write",
    "incident.write",
    "refusals.write",
    "alerts.write",
    "signing_keys.write",
    "operators.write",
    "resources.write",
    "sessions.revoke_any",
    "api_tokens.write",
    "api_tokens.issue",
    "api_keys.end",
    "enrollment_keys.end",
    "event_destinations.redirect",
    "resources.delete",
    "resources.issue_key",
    "signing_keys.withdraw",
    "workers.delete",
    "change_requests.write",
    "change_requests.decline",
    "change_requests.confirm",
    "second_operator.write",
}
# Actions that create access or hide alerts beyond the token's lifetime, or that concern a person.
NOT_BY_TOKEN = {
    "refusals.write",
    "alerts.write",
    "event_destinations.write",
    "event_destinations.redirect",
    "operators.write",
    "api_tokens.issue",
    "api_tokens.write",
    "sessions.revoke_any",
    "own_account",
    "own_second_factor",
    "change_requests.decline",
    "change_requests.confirm",
    "second_operator.write",
}
# Actions that can be limited to some Workers. Servers, signing keys, the audit log and operators concern all of them, or cannot be divided.
IN_SCOPE = {
    "workers.read",
    "workers.write",
    "api_keys.read",
    "api_keys.write",
    "resources.read",
    "enrollment.read",
    "enrollment.write",
    "events.read",
    "api_tokens.read",
    "api_tokens.issue",
    "api_keys.end",
    "enrollment_keys.end",
    "workers.delete",
    "api_tokens.write",
    "identity.read",
    "own_account",
    "own_second_factor",
    "change_requests.read",
    "change_requests.write",
    "change_requests.decline",
    "change_requests.confirm",
}


@pytest.mark.parametrize("action", sorted(ACTIONS))
def test_a_scope_allows_only_actions_that_can_be_limited(action):
    """An admin with a scope may do nothing else, and may use no route that is not marked as staying within the scope."""
    etl = caller(Role.ADMIN, scope=scope_of({"team": "etl"}))
    assert is_allowed(action, actor=etl) is (action in IN_SCOPE)

    with pytest.raises(ForbiddenError, match=r"limited to team=etl"):
        check_allowed(action, actor=etl, in_scope=False)
    check_allowed(action, actor=caller(Role.ADMIN), in_scope=False)


@pytest.mark.parametrize("action", sorted(ACTIONS))
def test_a_viewer_may_only_read(action):
    """An admin may do everything; a viewer only actions that change nothing of others', and may not read event destinations."""
    assert is_allowed(action, actor=caller(Role.ADMIN))
    assert is_allowed(action, actor=caller(Role.VIEWER)) is (action not in FOR_ADMINS)


@pytest.mark.parametrize("action", sorted(ACTIONS))
def test_an_api_token_has_at_most_its_role_and_never_manages_operators(action):
    """A leaked token of any role cannot create access for people."""
    assert is_allowed(action, actor=caller(Role.ADMIN, api_token="ci")) is (action not in NOT_BY_TOKEN)
    assert is_allowed(action, actor=caller(Role.VIEWER, api_token="ci")) is (
        action not in NOT_BY_TOKEN | FOR_ADMINS
    )


@pytest.mark.parametrize("action", sorted(ACTIONS))
def test_irreversible_actions_need_a_recent_authentication(action):
    """From fifteen minutes after it, or if its time is unknown, an operator must authenticate again; an API token never does."""
    within = timedelta(minutes=15)
    for ago, is_recent in ((within - timedelta(seconds=1), True), (within, False), (None, False)):
        asked = msgspec.structs.replace(
            caller(Role.ADMIN), authenticated_at=None if ago is None else NOON - ago
        )
        expected = (
            pytest.raises(ReauthenticationRequiredError)
            if ACTIONS[action].asks_again and not is_recent
            else contextlib.nullcontext()
        )
        with expected:
            check_recently_authenticated(action, actor=asked, within=within, now=NOON)
    check_recently_authenticated(action, actor=caller(Role.ADMIN, api_token="ci"), within=within, now=NOON)


@pytest.mark.parametrize("api_token", [None, "ci"])
@pytest.mark.parametrize("role", list(Role))
def test_an_action_that_is_not_in_the_table_is_denied(role, api_token):
    """An action that was forgotten there is denied for every caller."""
    with pytest.raises(ForbiddenError):
        check_allowed("workers.wirte", actor=caller(role, api_token=api_token), in_scope=True)


def test_the_lesser_of_two_roles():
    """It is admin only if both are."""
    for one in Role:
        for other in Role:
            is_admin = one is other is Role.ADMIN
            assert lesser_role(one, other) is (Role.ADMIN if is_admin else Role.VIEWER)


ENROLLED = worker(strategy=Strategy.AUTO_ENROLLMENT)
DISABLED = worker(strategy=Strategy.AUTO_ENROLLMENT, enabled=False)
CONFIGURED = worker(strategy=Strategy.API_KEY)


@pytest.mark.parametrize(
    ("policy", "holder", "online", "verdict"),
    [
        (NamePolicy.SUPERSEDE_OFFLINE, ENROLLED, False, "supersede"),
        (NamePolicy.SUPERSEDE_OFFLINE, ENROLLED, True, None),
        (NamePolicy.SUPERSEDE_OFFLINE, CONFIGURED, False, None),
        (NamePolicy.SUPERSEDE_OFFLINE, CONFIGURED, True, None),
        (NamePolicy.SUPERSEDE_OFFLINE, DISABLED, False, None),
        (NamePolicy.REJECT, ENROLLED, False, None),
        (NamePolicy.REJECT, ENROLLED, True, None),
        (NamePolicy.ALLOW, ENROLLED, True, "coexist"),
        (NamePolicy.ALLOW, CONFIGURED, False, "coexist"),
    ],
)
def test_a_name_is_never_taken_over_silently(policy, holder, online, verdict):
    """A connected holder, and a Worker that an operator added, keep the name, whatever credentials the new Worker has."""
    if verdict is None:
        with pytest.raises(NameInUseError):
            decide_same_name(policy=policy, holder=holder, holder_online=online)
    else:
        assert decide_same_name(policy=policy, holder=holder, holder_online=online) == verdict
