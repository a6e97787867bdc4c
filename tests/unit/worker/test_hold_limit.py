"""When a Worker concludes that something in between closes held polls after a timeout."""

import pytest

from lyftdata.worker.hold_limit import HoldLimit


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self):
        self.now_s = 0.0

    def __call__(self):
        return self.now_s


@pytest.fixture
def clock():
    """Return a clock."""
    return Clock()


@pytest.fixture
def limit(clock):
    """Return a limit that has learned nothing yet."""
    return HoldLimit(clock)


@pytest.mark.parametrize("cuts", [(10.0, 10.0), (10.0, 10.6), (60.0, 65.0), (4.0, 25.0, 10.0, 10.0)])
def test_two_cuts_after_the_same_time_set_a_limit(limit, cuts):
    """It is below both times, with a margin."""
    for held_s in cuts:
        limit.note_cut(held_s)

    assert limit.seconds == pytest.approx(0.75 * min(cuts[-2:]))


@pytest.mark.parametrize(
    "cuts", [(), (10.0,), (10.0, 20.0), (10.0, 12.0, 14.5), (0.5, 0.5, 0.5), (2.0, 2.0), (4.0, 4.0)]
)
def test_an_outage_is_not_taken_for_a_timeout(limit, cuts):
    """One cut, cuts after different times, and connections that end soon, as those of a proxy that reaches no Server, set no limit."""
    for held_s in cuts:
        limit.note_cut(held_s)

    assert limit.seconds is None


def test_a_longer_held_poll_disproves_the_timeout(limit):
    """If it was answered between two cuts after the same time."""
    limit.note_cut(10.0)
    limit.answered_after(25.0)
    limit.note_cut(10.0)

    assert limit.seconds is None


def test_a_poll_that_was_answered_sooner_is_ignored(limit):
    """It would not have been cut in any case."""
    limit.note_cut(10.0)
    limit.answered_after(0.1)
    limit.note_cut(10.0)

    assert limit.seconds is not None


def test_after_an_hour_longer_holds_are_tried_again(limit, clock):
    """The cause of the timeout may be gone."""
    limit.note_cut(10.0)
    limit.note_cut(10.0)
    clock.now_s = 3_601.0

    assert limit.seconds is None
