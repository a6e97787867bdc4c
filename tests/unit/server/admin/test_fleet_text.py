"""The sentences about a fleet."""

from datetime import timedelta

import pytest
from tests.builders import NOON

from lyftdata.core.fleet_verdict import SharedTrait, Trait, TraitKind, judge
from lyftdata.server.admin.fleet_text import describe_detail, describe_title


def verdict(*, online=0, returning=0, away=0, lost=(), refused=0, common=()):
    """Return a verdict; `lost` is how many seconds ago each was lost."""
    times = [NOON - timedelta(seconds=ago) for ago in lost]
    return judge(online=online, returning=returning, away=away, lost_at=times, refused=refused, common=common)


@pytest.mark.parametrize(
    ("given", "title"),
    [
        ({}, "No Worker is expected yet"),
        ({"online": 1}, "The one Worker that is expected is connected"),
        ({"online": 1_047}, "All 1,047 Workers that are expected are connected"),
        ({"online": 5, "away": 1}, "1 of 6 expected Workers is not connected"),
        ({"online": 4, "away": 1, "returning": 1}, "2 of 6 expected Workers are not connected"),
        ({"online": 9, "lost": [59]}, "1 Worker went offline in the last 59 seconds"),
        ({"online": 9, "lost": [60]}, "1 Worker went offline in the last minute"),
        ({"online": 9, "lost": [61, 5]}, "2 Workers went offline in the last 2 minutes"),
        ({"online": 9, "lost": [3_600]}, "1 Worker went offline in the last hour"),
    ],
)
def test_titles(given, title):
    """One sentence, with the time rounded up so that it holds for all."""
    assert describe_title(verdict(**given), now=NOON) == title


def test_most_of_them_went_later():
    """A first one long before does not hide that the others went together."""
    detail = describe_detail(verdict(online=9, lost=[3_000, 200, 200, 199, 198]), now=NOON)
    assert detail == "4 of them in the last 4 minutes. None signed off. 9 are connected."


def test_what_they_share():
    """All of them or most of them."""
    label = Trait(TraitKind.LABEL, "zone=eu-2")
    for number, who in ((3, "All"), (4, "Most")):
        found = verdict(online=9, lost=[5] * number, common=[SharedTrait(label, 3)])
        assert describe_detail(found, now=NOON).startswith(f"{who} have the label zone=eu-2. None")


@pytest.mark.parametrize(
    ("lost", "refused", "detail"),
    [
        (1, 0, "It did not sign off."),
        (1, 1, "The Server disconnected it: see Refusals."),
        (3, 3, "The Server disconnected them: see Refusals."),
        (3, 2, "The Server disconnected 2 of them: see Refusals. The others did not sign off."),
        (3, 1, "The Server disconnected 1 of them: see Refusals. The others did not sign off."),
    ],
)
def test_those_that_the_server_refuses_are_not_said_to_have_vanished(lost, refused, detail):
    """A fleet policy or a key that was revoked ends sessions too, and the network has nothing to do with it."""
    found = verdict(online=9, lost=[5] * lost, refused=refused)
    assert describe_detail(found, now=NOON) == f"{detail} 9 are connected."

    no_one_left = describe_detail(verdict(lost=[5] * lost, refused=refused), now=NOON)
    assert ("network" in no_one_left) == (refused < lost)


def test_no_worker_is_left():
    """Where no expected Worker is connected, the reason is likely to be in front of the Server."""
    assert "look at the network in front of this Server first" in describe_detail(
        verdict(lost=[5, 5]), now=NOON
    )


def test_after_a_restart():
    """Workers that may still reconnect are not called lost."""
    detail = describe_detail(verdict(online=9, returning=3, away=1), now=NOON)
    assert detail == (
        "3 may still reconnect to the Server that was restarted. "
        "1 more signed off or has been offline for longer than an hour. 9 are connected."
    )
