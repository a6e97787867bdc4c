"""When a Worker concludes that something in between closes held polls after a timeout."""

import pytest

from lyftdata.worker.hold_limit import HoldLimit

CHECK_S = 1.0


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


def cut(limit, *times_s):
    """Cut polls after these times; a Server that can be reached answers each check."""
    for held_s in times_s:
        limit.note_failure(held_s, was_cut=True)
        if limit.seconds == CHECK_S:
            limit.note_answer(CHECK_S)


@pytest.mark.parametrize(
    "cuts", [(10.0, 10.0, 10.0), (10.0, 10.6, 10.2), (60.0, 65.0, 60.0), (4.0, 25.0, 10.0, 10.0, 10.0)]
)
def test_three_cuts_after_the_same_time_set_a_limit(limit, cuts):
    """It is below all three, with a margin."""
    cut(limit, *cuts)

    assert limit.seconds == pytest.approx(0.75 * min(cuts[-3:]))


@pytest.mark.parametrize(
    "cuts", [(), (10.0,), (10.0, 10.0), (10.0, 20.0, 30.0), (10.0, 12.0, 14.5, 17.0), (0.5, 0.5, 0.5, 0.5)]
)
def test_other_cuts_set_no_limit(limit, cuts):
    """Too few, after different times, or so soon that it is no idle timeout."""
    cut(limit, *cuts)

    assert limit.seconds is None


@pytest.mark.parametrize("timeout_s", [2.0, 5.0, 60.0])
def test_a_proxy_that_reaches_no_server_sets_no_limit(limit, timeout_s):
    """It gives up after the same time at each poll, also at those that check whether the Server can be reached."""
    for _ in range(10):
        limit.note_failure(timeout_s, was_cut=True)
        assert limit.seconds in {None, CHECK_S}


@pytest.mark.parametrize("failures", range(1, 7))
def test_an_outage_behind_a_proxy_sets_no_limit_whenever_it_ends(limit, failures):
    """The first poll that is held as long as the cuts disproves them, even if the check was the first one to be answered."""
    for _ in range(failures):
        limit.note_failure(5.0, was_cut=True)
    if limit.seconds == CHECK_S:
        limit.note_answer(CHECK_S)
    limit.note_answer(25.0)
    limit.note_failure(5.0, was_cut=True)

    assert limit.seconds is None


def test_after_a_failure_that_is_no_cut_the_count_begins_again(limit):
    """Such as a refused connection: the Server could not be reached."""
    cut(limit, 10.0, 10.0)
    limit.note_failure(0.1, was_cut=False)
    cut(limit, 10.0, 10.0)

    assert limit.seconds is None


def test_a_longer_held_poll_disproves_the_timeout(limit):
    """If it was answered between cuts after the same time."""
    cut(limit, 10.0, 10.0)
    limit.note_answer(25.0)
    cut(limit, 10.0, 10.0)

    assert limit.seconds is None


def test_a_poll_that_was_answered_sooner_is_ignored(limit):
    """It would not have been cut in any case."""
    cut(limit, 10.0, 10.0)
    limit.note_answer(0.1)
    cut(limit, 10.0)

    assert limit.seconds == 7.5


def test_after_an_hour_longer_holds_are_tried_again(limit, clock):
    """The cause of the timeout may be gone."""
    cut(limit, 10.0, 10.0, 10.0)
    clock.now_s = 3_601.0

    assert limit.seconds is None
