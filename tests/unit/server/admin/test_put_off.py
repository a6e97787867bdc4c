"""Everything that operators postpone has an end and a note, by one rule."""

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
    """Postpone something, for at most a day."""
    return put_off(for_, note, at_most=DAY, actor=OLGA, now=NOON, known_secrets=KnownSecrets(()))


def test_a_postponement_has_an_end_an_operator_and_a_note():
    """The end is exact to the second; without a note the audit event has none."""
    decision = decide(DAY, "  the host is being moved\n")

    assert (decision.at, decision.until, decision.by) == (NOON, NOON + DAY, "operator:olga")
    assert decision.details == {"until": "2026-03-02T12:00:00Z", "note": "the host is being moved"}
    assert decide(DAY).details == {"until": "2026-03-02T12:00:00Z"}


@pytest.mark.parametrize("for_", [timedelta(), -DAY, DAY + timedelta(seconds=1), timedelta.max])
def test_an_end_beyond_the_limit_is_rejected(for_):
    """And so is one that is not in the future."""
    with pytest.raises(InvalidInputError) as refused:
        decide(for_)

    assert refused.value.field == "for"


def test_a_long_note_is_rejected():
    """200 characters are the limit."""
    assert decide(DAY, "n" * 200).note == "n" * 200
    with pytest.raises(InvalidInputError):
        decide(DAY, "n" * 201)
