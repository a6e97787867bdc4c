import asyncio
import contextlib
from collections.abc import Iterator

import pytest
from sqlalchemy import Connection
from tests.builders import worker
from tests.postgres import Cable, Cluster
from tests.store.conftest import AUDIT_KEY, ON_POSTGRESQL, add_workers

from lyftdata.store import Store, StoreError
from lyftdata.store.dialects import pooled_connections
from lyftdata.store.tables import workers


@pytest.fixture
def cable(cluster: Cluster) -> Iterator[Cable]:
    """Return a connection to the database that can be cut."""
    line = Cable(cluster)
    yield line
    line.close()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for an answer only as long as a busy machine may need, not two minutes."""
    monkeypatch.setattr(pooled_connections, "_ANSWERED_WITHIN_S", 5.0)
    monkeypatch.setattr(pooled_connections, "_WATCH_EVERY_S", 0.1)


@ON_POSTGRESQL
@pytest.mark.usefixtures("impatient")
async def test_no_caller_waits_forever_for_the_database(database_url: str, cable: Cable) -> None:
    """If a pooler hangs, a caller in a transaction gets an error, and the next one gets another connection."""
    store = Store.open(cable.url(database_url), audit_key=AUDIT_KEY)

    is_cut = asyncio.Event()
    loop = asyncio.get_running_loop()

    def read_twice(conn: Connection) -> None:
        workers.count_pending(conn)
        cable.cut()
        loop.call_soon_threadsafe(is_cut.set)
        workers.count_pending(conn)

    try:
        await add_workers(store, worker("press-01"))
        async with asyncio.timeout(180):
            reading = asyncio.create_task(store.read(read_twice))
            await is_cut.wait()
            writing = asyncio.create_task(add_workers(store, worker("press-02")))
            with pytest.raises(StoreError):
                await reading
            cable.restore_for_new_connections()
            # Succeeds if its next connection was opened late enough.
            with contextlib.suppress(StoreError):
                await writing
            await add_workers(store, worker("press-03"))
            ids = await store.read(lambda conn: {each.id for each in workers.all_workers(conn)})
    finally:
        await store.close()

    assert {"press-01", "press-03"} <= ids
