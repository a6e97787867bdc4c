"""The Servers that share a database, and their heartbeats by its clock."""

from datetime import timedelta

import pytest
from sqlalchemy import literal, select
from tests.builders import NOON
from tests.store.conftest import ON_POSTGRESQL, ON_SQLITE

from lyftdata.core.records import ServerRecord
from lyftdata.server.clock import utc_now
from lyftdata.store.schema import UtcDateTime
from lyftdata.store.tables import servers

LONG = timedelta(days=1)


def server(name, **fields):
    """Return a Server whose own clock is years behind."""
    values = {
        "id": name,
        "host": "h",
        "address": "127.0.0.1:1",
        "version": "1",
        "started_at": NOON,
        "beat_at": NOON - timedelta(days=3650),
    }
    return ServerRecord(**values | fields)


async def add(store, *records):
    """Add Servers."""
    for record in records:
        await store.write(lambda tx, record=record: servers.upsert_server(tx, record))


@ON_POSTGRESQL
async def test_a_heartbeat_is_timed_by_the_database(store):
    """A Server with a wrong clock is not declared dead, and its own clock cannot keep it alive."""
    await add(store, server("one"), server("two", started_at=NOON - timedelta(seconds=1)))

    assert [record.id for record in await store.read(servers.all_servers)] == ["two", "one"]
    assert await store.read(lambda conn: servers.list_live(conn, silent_for=LONG)) == {"one", "two"}
    assert await store.read(lambda conn: servers.list_dead(conn, silent_for=LONG)) == []
    assert await store.read(lambda conn: servers.list_live(conn, silent_for=timedelta(0))) == set()
    assert await store.read(lambda conn: servers.list_dead(conn, silent_for=timedelta(0))) == ["one", "two"]


@ON_POSTGRESQL
async def test_an_evicted_server_learns_it_from_its_heartbeat(store):
    """Its heartbeat is not recorded, and does not add it again."""
    await add(store, server("one"))
    assert await store.write(lambda tx: servers.record_heartbeat(tx, "one"))

    await store.write(lambda tx: servers.remove(tx, "one"))

    assert not await store.write(lambda tx: servers.record_heartbeat(tx, "one"))
    assert await store.read(servers.all_servers) == []


async def is_past(store, end, now):
    """Return whether a time is past at a Server whose clock shows `now`."""
    query = literal(end, UtcDateTime())
    found = await store.read(
        lambda conn: list(conn.execute(select(servers.is_past(conn, query, now))).scalars())
    )
    return bool(found[0])


@ON_SQLITE
async def test_a_single_server_uses_its_own_clock(store):
    """A time is past from that second on."""
    assert await is_past(store, NOON, NOON)
    assert not await is_past(store, NOON, NOON - timedelta(seconds=1))


@ON_POSTGRESQL
@pytest.mark.parametrize(
    ("ends_in", "clock_is_off", "expected"),
    [
        (-LONG, timedelta(0), True),
        (-LONG, -2 * LONG, False),
        (LONG, 2 * LONG, False),
        (-timedelta(minutes=1), timedelta(0), False),
    ],
)
async def test_a_time_is_past_only_if_it_is_for_all_servers(store, ends_in, clock_is_off, expected):
    """By the Server's clock and, for some minutes, by the database's."""
    now = utc_now()

    assert await is_past(store, now + ends_in, now + clock_is_off) is expected
