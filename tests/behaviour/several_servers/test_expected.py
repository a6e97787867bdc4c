"""Which Workers each Server expects back, by how long it holds polls: 10 s a Worker here."""

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
    # Servers here are written down and send no heartbeat: who is given up, and when, is up to each test.
    monkeypatch.setattr(membership, "DEAD_AFTER", timedelta(hours=1))


async def _connect(server, count, *, server_id):
    """Write down that so many Workers are connected at a Server."""

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
    """Return a Server at the host of another, which says that it lives just now and never again."""
    return ServerRecord(
        id=server_id,
        host=like.services.cluster._me.host,
        address=address,
        version=like.services.cluster._me.version,
        started_at=utc_now(),
        beat_at=utc_now(),
    )


def _holds_for(server, hold_s):
    """Return the question whether a Server holds polls for so long by now."""

    async def asked():
        return server.services.sessions.hold_s() == hold_s

    return asked


async def test_a_starting_server_expects_its_share_of_all(start_server):
    """Everybody's Server is gone: the first to start may have to take all of them, the next one half."""
    async with start_server(**AT_1) as seed:
        await _connect(seed, 12, server_id=FORMER)

    async with start_server(**AT_1) as first:
        assert first.services.sessions.hold_s() == 120
        async with start_server(**AT_2) as second:
            assert second.services.sessions.hold_s() == 60


async def test_a_server_killed_just_now_is_not_counted_beside_itself(start_server):
    """Started again within the seconds until it is given up, it expects all who were connected to it."""
    async with start_server(**AT_1) as seed:
        former = _record_of(FORMER, address=seed.services.cluster._me.address, like=seed)
        await _connect(seed, 12, server_id=FORMER)
    async with start_server(**AT_2) as writer:
        await writer.services.store.write(lambda tx: servers.upsert_server(tx, former))

    async with start_server(**AT_1) as again:
        assert again.services.sessions.hold_s() == 120


async def test_who_was_at_a_server_that_was_given_up_is_expected_by_the_rest_in_shares(start_server):
    """Both that live hold polls for half of them more, whichever of them gave it up."""
    async with start_server(**AT_1) as first, start_server(**AT_2) as second:
        third = _record_of("third", address="127.0.0.1:3003", like=first)
        await first.services.store.write(lambda tx: servers.upsert_server(tx, third))
        await _connect(first, 12, server_id=third.id)
        assert [_hold_of(server) for server in (first, second)] == [25, 25]

        await first.services.store.write(lambda tx: servers.remove(tx, third.id))
        for server in (first, second):
            await until(_holds_for(server, 60), "half of them are expected")


async def test_who_was_at_a_server_that_leaves_is_expected_by_the_rest(start_server):
    """As much as if it had been killed, only at once."""
    async with start_server(**AT_1) as first:
        async with start_server(**AT_2) as second:
            await _connect(second, 12, server_id=second.services.store.server_id)
            assert _hold_of(first) == 25

        await until(_holds_for(first, 120), "all of them are expected")


def _hold_of(server):
    return server.services.sessions.hold_s()
