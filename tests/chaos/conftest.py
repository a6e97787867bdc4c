"""Whatever a fault's test has started ends with it."""

import signal
from collections.abc import Iterator

import pytest
from tests.processes import STARTED


@pytest.fixture(autouse=True)
def _nothing_is_left_running() -> Iterator[None]:
    """End every program, those too that were stopped."""
    yield
    while STARTED:
        program = STARTED.pop()
        if program.alive():
            program.process.send_signal(signal.SIGCONT)
            program.kill()
