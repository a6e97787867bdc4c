"""When Workers were last seen, and with which key."""

import gc
from datetime import timedelta

import msgspec
from tests.builders import NOON, worker
from tests.store.conftest import add_workers

from lyftdata.core.records import (
    WorkerTraces,
)
from lyftdata.store.tables import (
    activity,
    workers,
)


async def test_who_used_a_key_last_is_found(store):
    """By the name of the key, whatever its generation."""
    await add_workers(store, worker("w-1"), worker("w-2"))
    left = [WorkerTraces(worker_id="w-1", api_key_name="press-keys"), WorkerTraces(worker_id="w-2")]
    await store.write(lambda tx: activity.upsert_traces(tx, left))

    assert await store.read(lambda conn: activity.ids_by_api_key(conn, "press-keys")) == {"w-1"}


async def test_what_is_written_each_second_leaves_few_cycles(store):
    """Or few: of those Python takes a long look at everything that moves, and nobody is answered meanwhile."""
    await add_workers(store, worker("w-1"))
    seen = [WorkerTraces(worker_id="w-1", last_seen_at=NOON)]
    await store.write(lambda tx: activity.upsert_traces(tx, seen))
    gc.collect()
    gc.disable()
    try:
        for _ in range(50):
            await store.write(lambda tx: activity.upsert_traces(tx, seen))
        left = gc.collect()
    finally:
        gc.enable()

    # A statement of SQLAlchemy's leaves ten; one that holds a copy of its table left 75.
    assert left < 50 * 20


async def test_traces_are_written_over_and_go_with_their_worker(store):
    """The latest trace counts; those of a deleted Worker are neither kept nor written again."""
    await add_workers(store, worker("w-1"))
    trace = WorkerTraces(
        worker_id="w-1", last_seen_at=NOON, address="192.0.2.1", api_key_name="k", host={"os": "x"}
    )
    later = msgspec.structs.replace(trace, last_seen_at=NOON + timedelta(seconds=1))
    for each in (trace, later):
        await store.write(lambda tx, each=each: activity.upsert_traces(tx, [each]))
    assert await store.read(lambda conn: activity.find_traces(conn, ["w-1", "w-2"])) == {"w-1": later}
    assert await store.read(activity.all_seen_ids) == {"w-1"}

    await store.write(lambda tx: workers.delete_worker(tx, "w-1"))
    await store.write(lambda tx: activity.upsert_traces(tx, [trace]))
    assert await store.read(activity.all_seen_ids) == set()


async def test_who_was_seen_since_a_time_and_by_which_key(store):
    """Both sides of the boundary; a Worker without an API key has no name of one."""
    await add_workers(store, worker("w-1"), worker("w-2"))
    traces = [
        WorkerTraces(worker_id="w-1", last_seen_at=NOON, address="192.0.2.1", api_key_name="press-keys"),
        WorkerTraces(worker_id="w-2", last_seen_at=NOON - timedelta(seconds=1), address="192.0.2.1"),
    ]
    await store.write(lambda tx: activity.upsert_traces(tx, traces))

    assert await store.read(lambda conn: activity.seen_ids(conn, since=NOON)) == {"w-1"}
    names = await store.read(lambda conn: activity.last_key_names(conn, ["w-1", "w-2", "w-gone"]))
    assert names == {"w-1": "press-keys"}
