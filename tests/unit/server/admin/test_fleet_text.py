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
def test_the_title_is_one_sentence(given, title):
    """The time is rounded up so that it is true for all."""
    assert describe_title(verdict(**given), now=NOON) == title


def test_the_detail_says_when_most_of_them_went():
    """One that was lost long before does not hide that the others were lost together."""
    detail = describe_detail(verdict(online=9, lost=[3_000, 200, 200, 199, 198]), now=NOON)
    assert detail == "4 of them in the last 4 minutes. None signed off. 9 are connected."


def test_the_detail_says_what_lost_workers_have_in_common():
    """All of them, or most of them."""
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
def test_workers_disconnected_by_the_server_are_not_described_as_lost(lost, refused, detail):
    """A fleet policy or a revoked key ends sessions too, and the network is not the cause."""
    found = verdict(online=9, lost=[5] * lost, refused=refused)
    assert describe_detail(found, now=NOON) == f"{detail} 9 are connected."

    no_one_left = describe_detail(verdict(lost=[5] * lost, refused=refused), now=NOON)
    assert ("network" in no_one_left) == (refused < lost)


def test_if_no_worker_is_connected_the_detail_points_to_the_network():
    """Then the cause is probably in front of the Server."""
    assert "look at the network in front of this Server first" in describe_detail(
        verdict(lost=[5, 5]), now=NOON
    )


def test_workers_that_may_reconnect_after_a_restart_are_not_called_lost():
    """They are counted separately."""
    detail = describe_detail(verdict(online=9, returning=3, away=1), now=NOON)
    assert detail == (
        "3 may still reconnect to the Server that was restarted. "
        "1 more signed off or has been offline for longer than an hour. 9 are connected."
    )
