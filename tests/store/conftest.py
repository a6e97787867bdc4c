"""A store on each supported database."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import NullPool, Row, create_engine, text
from tests.shared_starts import share_compiled_statements, share_migrations

from lyftdata.core.records import WorkerRecord
from lyftdata.store import Store, WriteTx
from lyftdata.store.changes import Change
from lyftdata.store.tables import workers

AUDIT_KEY = b"a" * 32


@pytest.fixture(scope="module", autouse=True)
def _shared_starts(request: pytest.FixtureRequest) -> Iterator[None]:
    """Share what every store needs at its start, except in tests about databases or migrations."""
    with pytest.MonkeyPatch.context() as patch:
        if request.path.name != "test_migrations.py" and request.path.parent.name != "dialects":
            share_compiled_statements(patch.setattr)
            share_migrations(patch.setattr)
        yield


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Return the URL of an empty database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'store.db'}"
    return str(request.getfixturevalue("cluster").new_database())


# For tests about one of the databases.
ON_SQLITE = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
ON_POSTGRESQL = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)


def run_directly(url: str, *statements: str, **values: object) -> list[Row[Any]]:
    """Run SQL on a database behind the store's back; return the rows of the last statement, if any."""
    engine = create_engine(url.replace("postgresql:", "postgresql+psycopg:"), poolclass=NullPool)
    with engine.begin() as conn:
        found = [conn.execute(text(statement), values) for statement in statements]
        return list(found[-1].all()) if found[-1].returns_rows else []


@pytest.fixture
def published() -> list[Change]:
    """Return the list that collects the changes published by the store."""
    return []


@pytest.fixture
async def store(database_url: str, published: list[Change]) -> AsyncIterator[Store]:
    """Return an open store."""
    opened = Store.open(database_url, audit_key=AUDIT_KEY)
    opened.deliver_changes_to(published.extend)
    yield opened
    await opened.close()


async def add_workers(store: Store, *records: WorkerRecord) -> None:
    """Add Worker entries in one transaction: while no change feed runs, each transaction reads all earlier changes."""

    def insert(tx: WriteTx) -> None:
        for record in records:
            workers.insert_worker(tx, record, unique_name=False)

    await store.write(insert)


async def count_successes(operations: Iterable[Awaitable[object]]) -> int:
    """Run operations concurrently; return how many succeeded."""
    outcomes = await asyncio.gather(*operations, return_exceptions=True)
    return sum(not isinstance(outcome, BaseException) for outcome in outcomes)
