"""Everything that a test has started is stopped after it."""

from collections.abc import Iterator

import pytest
from tests.processes import end_started


@pytest.fixture(autouse=True)
def _nothing_is_left_running() -> Iterator[None]:
    yield
    end_started()
