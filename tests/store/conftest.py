"""A store on each database that the project claims to work with."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from lyftdata.store import Store
from lyftdata.store.changes import Change

AUDIT_KEY = b"a" * 32


@pytest.fixture(params=["sqlite"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Return the URL of an empty database."""
    return {"sqlite": f"sqlite:///{tmp_path / 'store.db'}"}[request.param]


@pytest.fixture
def told() -> list[Change]:
    """Return the list in which the store's changes are gathered."""
    return []


@pytest.fixture
async def store(database_url: str, told: list[Change]) -> AsyncIterator[Store]:
    """Return an open store."""
    opened = Store.open(database_url, audit_key=AUDIT_KEY, on_change=told.extend)
    yield opened
    await opened.close()
