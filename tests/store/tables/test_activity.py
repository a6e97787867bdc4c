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


async def test_workers_are_found_by_the_key_they_used_last(store):
    """By the name of the key, whatever its generation."""
    await add_workers(store, worker("w-1"), worker("w-2"))
    left = [WorkerTraces(worker_id="w-1", api_key_name="press-keys"), WorkerTraces(worker_id="w-2")]
    await store.write(lambda tx: activity.upsert_traces(tx, left))

    assert await store.read(lambda conn: activity.ids_by_api_key(conn, "press-keys")) == {"w-1"}


async def test_a_write_leaves_few_reference_cycles(store):
    """Traces are written each second: many cycles would make Python's garbage collector pause the Server for long."""
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

    # A SQLAlchemy statement leaves ten; one that holds a copy of its table left 75.
    assert left < 50 * 20


async def test_traces_are_replaced_and_deleted_with_their_worker(store):
    """The latest trace replaces earlier ones; those of a deleted Worker are neither kept nor written again."""
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


async def test_workers_are_found_by_the_time_they_were_last_seen(store):
    """Both sides of the boundary; a Worker without an API key has no key name."""
    await add_workers(store, worker("w-1"), worker("w-2"))
    traces = [
        WorkerTraces(worker_id="w-1", last_seen_at=NOON, address="192.0.2.1", api_key_name="press-keys"),
        WorkerTraces(worker_id="w-2", last_seen_at=NOON - timedelta(seconds=1), address="192.0.2.1"),
    ]
    await store.write(lambda tx: activity.upsert_traces(tx, traces))

    assert await store.read(lambda conn: activity.seen_ids(conn, since=NOON)) == {"w-1"}
    names = await store.read(lambda conn: activity.last_key_names(conn, ["w-1", "w-2", "w-gone"]))
    assert names == {"w-1": "press-keys"}
