"""Losses are grouped so that each outage raises one alarm."""

from datetime import timedelta

from tests.builders import NOON

from lyftdata.core.outages import COVERS, Outage, group_losses


def at(minutes):
    """Return the time that many minutes after noon."""
    return NOON + timedelta(minutes=minutes)


def test_workers_lost_within_ten_minutes_are_one_outage():
    """Counted from the first loss, for any number of Workers."""
    losses = {
        f"w-{number:04}": NOON + number * (COVERS - timedelta(seconds=1)) / 1000 for number in range(1000)
    }

    (outage,) = group_losses(losses, open_since=[])

    assert (outage.began_at, len(outage.worker_ids)) == (NOON, 1000)


def test_a_later_loss_is_another_outage():
    """From the very minute in which the first outage no longer covers it; a long outage does not hide later ones."""
    assert group_losses({"a": at(0), "b": at(10), "c": at(9.9)}, open_since=[]) == [
        Outage(at(0), ["a", "c"]),
        Outage(at(10), ["b"]),
    ]


def test_an_outage_stays_the_same_after_its_first_worker_returns():
    """An alarm that was raised still covers the missing ones."""
    assert group_losses({"b": at(3)}, open_since=[at(0), at(60)]) == [Outage(at(0), ["b"])]
    assert group_losses({"b": at(3)}, open_since=[at(4)]) == [Outage(at(3), ["b"])]
