"""When a snoozed alert has got worse."""

import pytest
from tests.builders import NOON

from lyftdata.core.snoozing import SnoozedAlertRecord, alert_digest, describe_members, is_worse


def snoozed(about):
    """Return the decision about an alert with these members."""
    return SnoozedAlertRecord(
        alert=alert_digest("refused", "wrong_api_key"),
        kind="refused",
        title="Refused",
        until=NOON,
        at=NOON,
        by="operator:olga",
        note="",
        size=len(about),
        members=describe_members(about),
    )


@pytest.mark.parametrize(
    ("before", "now", "worse"),
    [
        ({"a", "b"}, {"a", "b"}, False),
        ({"a", "b"}, {"a"}, False),
        ({"a", "b"}, set(), False),
        ({"a", "b"}, {"a", "b", "c"}, True),
        # As many as before, and one of them is another.
        ({"a", "b"}, {"a", "c"}, True),
        (set(), set(), False),
        (set(), {"a"}, True),
    ],
)
def test_an_alert_is_worse_when_it_is_about_one_that_was_not_there(before, now, worse):
    """One that takes the place of another counts: a guesser must not hide behind one who has stopped."""
    assert is_worse(snoozed(before), now) is worse


def test_of_very_many_their_number_counts():
    """Ten thousand Workers are not listed in a decision: with one more of them it has got worse."""
    before = {f"w-{number}" for number in range(1_001)}

    assert snoozed(before).members == ""
    assert not is_worse(snoozed(before), before)
    assert is_worse(snoozed(before), before | {"w-1001"})


def test_a_key_of_one_kind_is_not_that_of_another():
    """Whatever text a key is, also one that a client has chosen."""
    keys = [("refused", "a"), ("duplicate", "a"), ("refused", ""), ("refuse", "d\0a"), ("refused\0", "a")]

    assert len({alert_digest(kind, key) for kind, key in keys}) == len(keys)
