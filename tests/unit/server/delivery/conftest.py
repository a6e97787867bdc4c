"""Fixtures: a Server that may deliver to this host, and a receiver of webhooks."""

from collections.abc import AsyncIterator, Iterator

import pytest
from tests.deployment import Deployment, Open
from tests.webhook_receiver import Receiver, receiver

from lyftdata.server.runtime import background


@pytest.fixture(autouse=True)
def _only_on_request(monkeypatch: pytest.MonkeyPatch) -> None:
    """Turn off the Server's own deliveries: each test decides when events are delivered."""
    monkeypatch.setattr(background, "_DELIVER_EVERY_S", 86_400.0)


@pytest.fixture
async def server(opened: Open) -> AsyncIterator[Deployment]:
    """Return a Server that may deliver events to this host."""
    async with opened(LYFTDATA_EVENTS_ALLOWED_NETWORKS="127.0.0.0/8,::1") as deployment:
        yield deployment


@pytest.fixture
def hook() -> Iterator[Receiver]:
    """Return a receiver of webhooks."""
    with receiver(at_any_time=True) as found:
        yield found
