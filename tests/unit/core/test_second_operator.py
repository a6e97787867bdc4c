"""The rules for what a second operator must confirm."""

import pytest
from tests.builders import NOON

from lyftdata.core.errors import InvalidInputError
from lyftdata.core.second_operator import ALWAYS, DEFAULT, MEANINGS, ProtectedAction, make_rules


def rules(*actions, above=10):
    """Return rules."""
    return make_rules(actions, above, at=NOON, by="operator:ann")


def test_what_gives_one_person_two_accounts_is_always_confirmed():
    """Whatever is chosen, operators and the rules themselves are among it: otherwise one person confirms alone."""
    chosen = rules("delete_workers")

    assert {ProtectedAction.MANAGE_OPERATORS, ProtectedAction.RELAX_RULES} == ALWAYS
    assert chosen.actions == ["delete_workers", "manage_operators", "relax_rules"]
    assert all(chosen.requires(action) for action in ALWAYS)
    assert not chosen.requires(ProtectedAction.DISABLE_WORKERS)


def test_what_stops_an_attack_is_not_proposed():
    """To disable Workers and to withdraw a key that leaked takes one operator, unless somebody chooses otherwise."""
    assert ProtectedAction.DISABLE_WORKERS not in DEFAULT
    assert ProtectedAction.WITHDRAW_SIGNING_KEY not in DEFAULT
    assert set(MEANINGS) == set(ProtectedAction)


@pytest.mark.parametrize(
    ("before", "after", "relaxes"),
    [
        (rules("delete_workers"), rules("delete_workers"), False),
        (rules("delete_workers"), rules("delete_workers", "refuse_agents"), False),
        (rules("delete_workers"), rules("delete_workers", above=9), False),
        (rules("delete_workers"), rules("delete_workers", above=11), True),
        (rules("delete_workers"), rules("refuse_agents"), True),
        (rules("delete_workers"), rules(), True),
        (rules("delete_workers"), rules("delete_workers", "refuse_agents", above=11), True),
    ],
)
def test_less_of_anything_is_relaxed(before, after, relaxes):
    """An action taken out, or a higher number, is a relaxation, whatever else becomes stricter."""
    assert after.is_at_least(before) is not relaxes


@pytest.mark.parametrize(("actions", "above"), [(["anything"], 1), ([], -1), ([], 5_001)])
def test_only_known_actions_and_numbers(actions, above):
    """A misspelt action would protect nothing."""
    with pytest.raises(InvalidInputError):
        make_rules(actions, above, at=NOON, by="operator:ann")
