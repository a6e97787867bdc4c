"""Who may do what, row by row, and what happens to a name that is taken."""

import pytest
from tests.builders import worker

from lyftdata.core.errors import ForbiddenError
from lyftdata.core.policy import ACTIONS, NamePolicy, check_allowed, decide_same_name, is_allowed
from lyftdata.core.records import Role, Strategy
from lyftdata.core.refusals import NameInUseError

FOR_ADMINS = {
    "event_destinations.read",
    "event_destinations.write",
    "workers.write",
    "api_keys.write",
    "enrollment.write",
    "incident.write",
    "signing_keys.write",
    "operators.write",
    "resources.write",
    "sessions.revoke_any",
}


@pytest.mark.parametrize("action", sorted(ACTIONS))
def test_a_viewer_changes_nothing(action):
    """An admin may take every action; a viewer every one that changes nothing of others', but sees no destinations of events."""
    assert is_allowed(action, role=Role.ADMIN)
    assert is_allowed(action, role=Role.VIEWER) is (action not in FOR_ADMINS)


@pytest.mark.parametrize("role", list(Role))
def test_what_is_not_in_the_table_nobody_may_do(role):
    """An action that somebody forgot to enter is refused to everybody."""
    with pytest.raises(ForbiddenError):
        check_allowed("workers.wirte", role=role)


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
    """A connected holder and an entry made by an operator keep the name, whatever the newcomer knows."""
    if verdict is None:
        with pytest.raises(NameInUseError):
            decide_same_name(policy=policy, holder=holder, holder_online=online)
    else:
        assert decide_same_name(policy=policy, holder=holder, holder_online=online) == verdict
