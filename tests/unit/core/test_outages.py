"""One alarm an outage."""

from datetime import timedelta

from tests.builders import NOON

from lyftdata.core.outages import COVERS, Outage, group_losses


def at(minutes):
    """Return a time after noon."""
    return NOON + timedelta(minutes=minutes)


def test_a_thousand_workers_that_are_lost_together_are_one_outage():
    """Within ten minutes of the first."""
    losses = {
        f"w-{number:04}": NOON + number * (COVERS - timedelta(seconds=1)) / 1000 for number in range(1000)
    }

    (outage,) = group_losses(losses, open_since=[])

    assert (outage.began_at, len(outage.worker_ids)) == (NOON, 1000)


def test_a_later_loss_is_another_outage():
    """From the very minute at which the first does not cover it any more; one that lasts hides none that comes later."""
    assert group_losses({"a": at(0), "b": at(10), "c": at(9.9)}, open_since=[]) == [
        Outage(at(0), ["a", "c"]),
        Outage(at(10), ["b"]),
    ]


def test_an_outage_stays_the_same_when_its_first_worker_is_back():
    """An alarm that was raised covers those that are still missing."""
    assert group_losses({"b": at(3)}, open_since=[at(0), at(60)]) == [Outage(at(0), ["b"])]
    assert group_losses({"b": at(3)}, open_since=[at(4)]) == [Outage(at(3), ["b"])]
