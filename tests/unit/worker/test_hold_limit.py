"""When a Worker takes cut polls for a timeout of something in between."""

import pytest

from lyftdata.worker.hold_limit import HoldLimit


class Clock:
    """Seconds that go on when they are told to."""

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
    """Return what has learned nothing yet."""
    return HoldLimit(clock)


@pytest.mark.parametrize("cuts", [(10.0, 10.0), (10.0, 10.6), (60.0, 65.0), (4.0, 25.0, 10.0, 10.0)])
def test_cut_twice_after_the_same_time_it_asks_for_less(limit, cuts):
    """The limit is below both times, with a margin."""
    for held_s in cuts:
        limit.note_cut(held_s)

    assert limit.seconds == pytest.approx(0.75 * min(cuts[-2:]))


@pytest.mark.parametrize("cuts", [(), (10.0,), (10.0, 20.0), (10.0, 12.0, 14.5), (0.5, 0.5, 0.5)])
def test_an_outage_is_not_taken_for_a_timeout(limit, cuts):
    """One cut, cuts after different times, and connections that end at once teach nothing."""
    for held_s in cuts:
        limit.note_cut(held_s)

    assert limit.seconds is None


def test_a_poll_that_was_held_for_longer_shows_that_it_was_none(limit):
    """Between two cuts after the same time one poll was answered later than that."""
    limit.note_cut(10.0)
    limit.answered_after(25.0)
    limit.note_cut(10.0)

    assert limit.seconds is None


def test_a_poll_that_was_answered_sooner_shows_nothing(limit):
    """What the Server has answered at once would not have been cut."""
    limit.note_cut(10.0)
    limit.answered_after(0.1)
    limit.note_cut(10.0)

    assert limit.seconds is not None


def test_after_an_hour_longer_holds_are_tried_again(limit, clock):
    """What was in between may have gone."""
    limit.note_cut(10.0)
    limit.note_cut(10.0)
    clock.now_s = 3_601.0

    assert limit.seconds is None
