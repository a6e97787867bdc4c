"""
The pytest plugin: the fixture `lyftdata_server`, for tests of a service.

pytest imports this in every project that has `lyftdata` installed, so it imports nothing until the fixture is used.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from lyftdata.testing import FakeServer


@pytest.fixture
def lyftdata_server() -> "Iterator[FakeServer]":
    """A fake lyftdata Server that signs worker tokens and listens on a port of loopback, for one test (docs/how-to/test-a-service.md)."""
    from lyftdata.testing import FakeServer

    with FakeServer() as server:
        yield server
