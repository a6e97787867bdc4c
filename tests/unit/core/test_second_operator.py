"""The rules for actions that a second operator must confirm."""

import pytest
from tests.builders import NOON

from lyftdata.core.errors import InvalidInputError
from lyftdata.core.second_operator import ALWAYS, DEFAULT, MEANINGS, ProtectedAction, make_rules


def rules(*actions, above=10):
    """Return rules."""
    return make_rules(actions, above, at=NOON, by="operator:ann")


def test_managing_operators_and_relaxing_rules_are_always_confirmed():
    """Otherwise one person could add a second account and confirm alone."""
    chosen = rules("delete_workers")

    assert {ProtectedAction.MANAGE_OPERATORS, ProtectedAction.RELAX_RULES} == ALWAYS
    assert chosen.actions == ["delete_workers", "manage_operators", "relax_rules"]
    assert all(chosen.requires(action) for action in ALWAYS)
    assert not chosen.requires(ProtectedAction.DISABLE_WORKERS)


def test_actions_that_stop_an_attack_are_not_in_the_default():
    """One operator can disable Workers and withdraw a leaked key, unless the rules are set otherwise."""
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
def test_dropping_an_action_or_raising_the_number_is_a_relaxation(before, after, relaxes):
    """Whatever else becomes stricter."""
    assert after.is_at_least(before) is not relaxes


@pytest.mark.parametrize(("actions", "above"), [(["anything"], 1), ([], -1), ([], 5_001)])
def test_unknown_actions_and_invalid_numbers_are_rejected(actions, above):
    """A misspelt action would protect nothing."""
    with pytest.raises(InvalidInputError):
        make_rules(actions, above, at=NOON, by="operator:ann")
