"""When Workers were connected."""

from datetime import timedelta

from tests.builders import NOON, worker
from tests.store.conftest import add_workers

from lyftdata.core.records import (
    WorkerSessionRecord,
)
from lyftdata.store.tables import (
    worker_sessions,
    workers,
)


def connected(worker_id, minute, **fields):
    """Return a session that began so many minutes after noon."""
    given = {"worker_id": worker_id, "started_at": NOON + timedelta(minutes=minute), "address": "192.0.2.1"}
    return WorkerSessionRecord(**(given | fields))


async def test_the_start_and_end_of_a_session_are_one_row(store):
    """A deleted Worker has no sessions."""
    await add_workers(store, worker("w-1"), worker("w-2"))
    begun = [connected("w-1", 0), connected("w-1", 5), connected("w-2", 1), connected("w-gone", 1)]
    await store.write(lambda tx: worker_sessions.upsert_sessions(tx, begun))
    ended = connected("w-1", 0, ended_at=NOON + timedelta(minutes=4), end="lost", host={"hostname": "h"})
    await store.write(lambda tx: worker_sessions.upsert_sessions(tx, [ended]))

    assert await store.read(lambda conn: worker_sessions.list_sessions(conn, "w-1")) == [begun[1], ended]
    await store.write(lambda tx: workers.delete_worker(tx, "w-1"))
    assert await store.read(lambda conn: worker_sessions.list_sessions(conn, "w-1")) == []
    assert len(await store.read(lambda conn: worker_sessions.list_sessions(conn, "w-2"))) == 1


async def test_workers_disconnected_by_the_last_stop_are_counted(store):
    """Whether the Server stopped or crashed: each Worker once, without those that disconnected before, or at an earlier stop."""
    names = [f"w-{n}" for n in range(6)]
    await add_workers(store, *map(worker, names))
    assert await store.read(worker_sessions.count_disconnected_at_stop) == 0
    stopped = {"ended_at": NOON + timedelta(minutes=9), "end": "server_stopped"}
    sessions = [
        connected("w-0", 0, ended_at=NOON + timedelta(minutes=2), end="server_crashed"),
        connected("w-1", 0, **stopped),
        connected("w-2", 8, **stopped),
        connected("w-2", 0, **(stopped | {"ended_at": NOON + timedelta(minutes=8.5)})),
        connected("w-3", 0, **(stopped | {"end": "lost"})),
    ]
    await store.write(lambda tx: worker_sessions.upsert_sessions(tx, sessions))
    assert await store.read(worker_sessions.count_disconnected_at_stop) == 2

    left_open = [connected(name, 20) for name in ("w-3", "w-4", "w-5")]
    await store.write(lambda tx: worker_sessions.upsert_sessions(tx, left_open))
    await store.write(lambda tx: worker_sessions.close_open(tx, end="server_crashed"))
    assert await store.read(worker_sessions.count_disconnected_at_stop) == 3


async def test_the_last_sessions_of_each_worker_are_kept(store):
    """A Worker that reconnects all the time displaces only its own sessions."""
    await add_workers(store, worker("w-1"), worker("w-2"))
    await store.write(lambda tx: worker_sessions.upsert_sessions(tx, [connected("w-2", 0)]))
    for start in (0, 15):
        many = [connected("w-1", start + n) for n in range(15)]
        await store.write(lambda tx, many=many: worker_sessions.upsert_sessions(tx, many))

    kept = await store.read(lambda conn: worker_sessions.list_sessions(conn, "w-1"))
    assert [(s.started_at - NOON).seconds // 60 for s in kept] == list(range(29, 9, -1))
    assert len(await store.read(lambda conn: worker_sessions.list_sessions(conn, "w-2"))) == 1


async def test_sessions_that_ended_since_a_time_are_listed(store):
    """Both sides of the boundary, earliest first; open sessions are not included."""
    await add_workers(store, worker("w-1"), worker("w-2"), worker("w-3"))
    ends = {"w-1": 20, "w-2": 10}
    ended = {
        name: connected(name, 0, ended_at=NOON + timedelta(minutes=minute), end="lost")
        for name, minute in ends.items()
    }
    sessions = [*ended.values(), connected("w-3", 0)]
    await store.write(lambda tx: worker_sessions.upsert_sessions(tx, sessions))
    for minute, expected in ((10, ["w-2", "w-1"]), (10.1, ["w-1"]), (20.1, [])):
        since = NOON + timedelta(minutes=minute)
        found = await store.read(lambda conn, since=since: worker_sessions.ended_since(conn, since))
        assert found == [ended[name] for name in expected]
