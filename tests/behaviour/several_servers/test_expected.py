"""How many Workers each Server expects back, seen by how long it holds polls: here 10 s for each Worker."""

from datetime import timedelta

import pytest
from tests.behaviour.several_servers.test_one_state import until
from tests.builders import worker

from lyftdata.core.records import PresenceRecord, ServerRecord
from lyftdata.server.clock import utc_now
from lyftdata.server.cluster import membership
from lyftdata.server.sessions import hold_time as module
from lyftdata.store.tables import presence, servers, workers

FORMER = "former"
AT_1 = {"LYFTDATA_BIND_ADDRESS": "127.0.0.1:3001"}
AT_2 = {"LYFTDATA_BIND_ADDRESS": "127.0.0.1:3002"}


@pytest.fixture(autouse=True)
def _longer_by_ten_seconds_for_each_worker(monkeypatch):
    monkeypatch.setattr(module, "_MAX_POLLS_PER_S", 0.1)
    # Some Servers here are only rows and send no heartbeat: each test decides which one is declared dead, and when.
    monkeypatch.setattr(membership, "DEAD_AFTER", timedelta(hours=1))


async def _connect(server, count, *, server_id):
    """Record that `count` Workers are connected to a Server."""

    def op(tx):
        for number in range(count):
            workers.insert_worker(tx, worker(f"w-{number}"), unique_name=True)
            record = PresenceRecord(
                worker_id=f"w-{number}",
                server_id=server_id,
                boot_id="boot-0001",
                credential="key.abc.1",
                since=utc_now(),
                address="192.0.2.1",
                host={},
                reported_labels={},
            )
            presence.reclaim_slots(tx, [record])

    await server.services.store.write(op)


def _record_of(server_id, *, address, like):
    """Return a Server on the same host as another, whose only heartbeat is now."""
    return ServerRecord(
        id=server_id,
        host=like.services.cluster._me.host,
        address=address,
        version=like.services.cluster._me.version,
        started_at=utc_now(),
        beat_at=utc_now(),
    )


def _holds_for(server, hold_s):
    """Return a coroutine function that returns whether a Server now holds polls for this long."""

    async def asked():
        return server.services.sessions.hold_s() == hold_s

    return asked


async def test_a_starting_server_expects_its_share_of_all_workers(start_server):
    """After all Servers were lost, the first to start may have to take all Workers, the second one half."""
    async with start_server(**AT_1) as seed:
        await _connect(seed, 12, server_id=FORMER)

    async with start_server(**AT_1) as first:
        assert first.services.sessions.hold_s() == 120
        async with start_server(**AT_2) as second:
            assert second.services.sessions.hold_s() == 60


async def test_a_restarted_server_does_not_count_its_killed_predecessor_as_a_peer(start_server):
    """Started again before the killed one is declared dead, it expects all Workers that were connected to that one."""
    async with start_server(**AT_1) as seed:
        former = _record_of(FORMER, address=seed.services.cluster._me.address, like=seed)
        await _connect(seed, 12, server_id=FORMER)
    async with start_server(**AT_2) as writer:
        await writer.services.store.write(lambda tx: servers.upsert_server(tx, former))

    async with start_server(**AT_1) as again:
        assert again.services.sessions.hold_s() == 120


async def test_workers_of_a_dead_server_are_expected_by_the_other_servers_in_equal_shares(start_server):
    """Both remaining Servers expect half of them, whichever of the two declared it dead."""
    async with start_server(**AT_1) as first, start_server(**AT_2) as second:
        third = _record_of("third", address="127.0.0.1:3003", like=first)
        await first.services.store.write(lambda tx: servers.upsert_server(tx, third))
        await _connect(first, 12, server_id=third.id)
        assert [_hold_of(server) for server in (first, second)] == [25, 25]

        await first.services.store.write(lambda tx: servers.remove(tx, third.id))
        for server in (first, second):
            await until(_holds_for(server, 60), "half of them are expected")


async def test_workers_of_a_server_that_leaves_are_expected_by_the_rest(start_server):
    """As after a kill, but at once."""
    async with start_server(**AT_1) as first:
        async with start_server(**AT_2) as second:
            await _connect(second, 12, server_id=second.services.store.server_id)
            assert _hold_of(first) == 25

        await until(_holds_for(first, 120), "all of them are expected")


def _hold_of(server):
    return server.services.sessions.hold_s()
