"""When a snoozed alert has become worse."""

import pytest
from tests.builders import NOON

from lyftdata.core.snoozing import SnoozedAlertRecord, alert_digest, describe_members, is_worse


def snoozed(about):
    """Return the snooze of an alert about these members."""
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
        # As many as before, but one of them is new.
        ({"a", "b"}, {"a", "c"}, True),
        (set(), set(), False),
        (set(), {"a"}, True),
    ],
)
def test_an_alert_is_worse_when_it_has_a_new_member(before, now, worse):
    """Even if another one is gone: an attacker must not hide behind one that has stopped."""
    assert is_worse(snoozed(before), now) is worse


def test_an_alert_with_very_many_members_is_compared_by_their_number():
    """A snooze does not list ten thousand Workers; one more makes the alert worse."""
    before = {f"w-{number}" for number in range(1_001)}

    assert snoozed(before).members == ""
    assert not is_worse(snoozed(before), before)
    assert is_worse(snoozed(before), before | {"w-1001"})


def test_alerts_of_different_kinds_have_different_digests():
    """Whatever text the key is, since a client may choose it."""
    keys = [("refused", "a"), ("duplicate", "a"), ("refused", ""), ("refuse", "d\0a"), ("refused\0", "a")]

    assert len({alert_digest(kind, key) for kind, key in keys}) == len(keys)
