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


async def test_a_session_is_written_over_itself_when_it_ends(store):
    """Begun and ended are one row; of a Worker that is gone none is kept."""
    await add_workers(store, worker("w-1"), worker("w-2"))
    begun = [connected("w-1", 0), connected("w-1", 5), connected("w-2", 1), connected("w-gone", 1)]
    await store.write(lambda tx: worker_sessions.upsert_sessions(tx, begun))
    ended = connected("w-1", 0, ended_at=NOON + timedelta(minutes=4), end="lost", host={"hostname": "h"})
    await store.write(lambda tx: worker_sessions.upsert_sessions(tx, [ended]))

    assert await store.read(lambda conn: worker_sessions.list_sessions(conn, "w-1")) == [begun[1], ended]
    await store.write(lambda tx: workers.delete_worker(tx, "w-1"))
    assert await store.read(lambda conn: worker_sessions.list_sessions(conn, "w-1")) == []
    assert len(await store.read(lambda conn: worker_sessions.list_sessions(conn, "w-2"))) == 1


async def test_those_whom_the_last_server_left_are_counted(store):
    """However it ended: each Worker once, neither who has gone by itself nor who was cut off by an earlier end."""
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
    """A Worker that comes and goes all the time pushes out its own sessions, and nobody else's."""
    await add_workers(store, worker("w-1"), worker("w-2"))
    await store.write(lambda tx: worker_sessions.upsert_sessions(tx, [connected("w-2", 0)]))
    for start in (0, 15):
        many = [connected("w-1", start + n) for n in range(15)]
        await store.write(lambda tx, many=many: worker_sessions.upsert_sessions(tx, many))

    kept = await store.read(lambda conn: worker_sessions.list_sessions(conn, "w-1"))
    assert [(s.started_at - NOON).seconds // 60 for s in kept] == list(range(29, 9, -1))
    assert len(await store.read(lambda conn: worker_sessions.list_sessions(conn, "w-2"))) == 1


async def test_the_sessions_that_ended_since_a_time(store):
    """Both sides of the boundary, the earliest first; what lasts is not among them."""
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
