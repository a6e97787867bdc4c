"""A repeated failure is logged when it begins, and once a minute while it lasts."""

import pytest
import structlog
from structlog.testing import capture_logs

from lyftdata.core.log_events.server import BACKGROUND_TASK_FAILED
from lyftdata.failure_log import AGAIN_AFTER_S, FailureLog


class Steady:
    """A clock that a test moves."""

    def __init__(self):
        self.now_s = 100.0

    def __call__(self):
        return self.now_s


@pytest.fixture
def clock():
    """Return a clock."""
    return Steady()


def test_many_failures_are_one_line_a_minute(clock):
    """The first is logged; after a minute another line has the number of those left out."""
    with capture_logs() as lines:
        failures = FailureLog(structlog.get_logger(), BACKGROUND_TASK_FAILED, monotonic=clock)
        for _ in range(10):
            failures.failed(work="beat", problem="down")
        clock.now_s += AGAIN_AFTER_S
        failures.failed(work="beat", problem="down")

    assert [(line["event"], line.get("left_out")) for line in lines] == [
        ("background_task_failed", None),
        ("background_task_failed", 9),
    ]


def test_a_failure_after_a_success_is_logged_at_once(clock):
    """It counts as a new failure."""
    with capture_logs() as lines:
        failures = FailureLog(structlog.get_logger(), BACKGROUND_TASK_FAILED, monotonic=clock)
        for _ in range(2):
            failures.failed(level="warning", problem="down")
            failures.succeeded()

    assert [line["log_level"] for line in lines] == ["warning", "warning"]
