"""What operators put off has an end and a note, by one rule."""

from datetime import timedelta

import pytest
from tests.builders import NOON

from lyftdata.core.actor import Actor
from lyftdata.core.errors import InvalidInputError
from lyftdata.core.known_secrets import KnownSecrets
from lyftdata.core.records import Role
from lyftdata.server.admin.put_off import put_off

OLGA = Actor(operator="olga", role=Role.ADMIN, session_id="s", address="192.0.2.1")
DAY = timedelta(days=1)


def decide(for_, note=""):
    """Put something off for a time, of which a day is the longest."""
    return put_off(for_, note, at_most=DAY, actor=OLGA, now=NOON, known_secrets=KnownSecrets(()))


def test_it_has_an_end_and_says_who_and_why():
    """To the second; without a note the audit log has none."""
    decision = decide(DAY, "  the host is being moved\n")

    assert (decision.at, decision.until, decision.by) == (NOON, NOON + DAY, "operator:olga")
    assert decision.details == {"until": "2026-03-02T12:00:00Z", "note": "the host is being moved"}
    assert decide(DAY).details == {"until": "2026-03-02T12:00:00Z"}


@pytest.mark.parametrize("for_", [timedelta(), -DAY, DAY + timedelta(seconds=1), timedelta.max])
def test_nothing_is_put_off_for_good(for_):
    """Nor for no time."""
    with pytest.raises(InvalidInputError) as refused:
        decide(for_)

    assert refused.value.field == "for"


def test_a_long_note_is_refused():
    """200 characters fit."""
    assert decide(DAY, "n" * 200).note == "n" * 200
    with pytest.raises(InvalidInputError):
        decide(DAY, "n" * 201)
