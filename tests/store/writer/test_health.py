"""When a Server reports that it cannot write."""

import pytest

from lyftdata.store.writer.health import STUCK_AFTER_S, WriterHealth


class Seconds:
    """A clock that is set by hand."""

    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def seconds():
    """Return the clock."""
    return Seconds()


@pytest.fixture
def health(seconds):
    """Return the health of a writer that has written nothing yet."""
    return WriterHealth(seconds)


def test_two_failed_batches_in_a_row_are_reported(health):
    """One failed batch may be chance, two are not; a committed batch ends it."""
    seen = [health.is_writing()]
    for problem in ("lock timeout", "lock timeout", None):
        health.begin()
        if problem is None:
            health.succeed()
        else:
            health.fail(problem)
        seen.append(health.is_writing())

    assert seen == [True, True, False, True]
    assert health.problem is None


def test_failures_that_are_not_in_a_row_do_not_add_up(health):
    """A committed batch between two failed ones resets the count."""
    for end in (lambda: health.fail("x"), health.succeed, lambda: health.fail("x")):
        health.begin()
        end()

    assert health.is_writing()
    assert health.problem == "x"


def test_a_stuck_writer_is_reported_until_a_batch_is_committed(health, seconds):
    """It is reported while a batch waits too long, and also while the next batch waits."""
    health.begin()
    seconds.now_s += STUCK_AFTER_S
    at_the_bound = health.is_writing()
    seconds.now_s += 1
    beyond = health.is_writing()
    health.fail("lock timeout")
    health.begin()

    assert (at_the_bound, beyond, health.is_writing()) == (True, False, False)
    health.succeed()
    assert health.is_writing()
    assert health.waited_s() == 0
