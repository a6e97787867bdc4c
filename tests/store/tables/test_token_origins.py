"""Where Workers' tokens were requested from."""

import itertools
from datetime import timedelta

import pytest
from tests.builders import NOON, worker
from tests.store.conftest import add_workers

from lyftdata.core.records import TokenOriginRecord
from lyftdata.store.tables import token_origins, workers


def origin(worker_id="w-1", minute=0, **fields):
    """Return the origin of a token issued so many minutes after noon."""
    at = NOON + timedelta(minutes=minute)
    given = {
        "worker_id": worker_id,
        "network": "192.0.2.0/24",
        "credential": "key.AAAAAAAAAA",
        "audience": "https://lyft.example",
        "address": "192.0.2.7",
        "first_at": at,
        "last_at": at,
    }
    return TokenOriginRecord(**(given | fields))


async def merge(store, *origins):
    """Write origins."""
    await store.write(lambda tx: token_origins.merge_origins(tx, origins))


async def kept(store, *worker_ids):
    """Return the stored origins of Workers."""
    return await store.read(lambda conn: token_origins.list_origins(conn, worker_ids or ["w-1"]))


async def test_origins_recorded_by_two_servers_are_merged(store):
    """With the first time, the last one with its address, and the last alert: whichever Server writes last."""
    await add_workers(store, worker("w-1"))
    marked = {"elsewhere_at": NOON + timedelta(minutes=2), "session_address": "198.51.100.1"}
    first = origin(minute=2, address="192.0.2.9", **marked)
    second = origin(minute=1, last_at=NOON + timedelta(minutes=5))
    late = origin(minute=3)
    expected = origin(minute=1, last_at=NOON + timedelta(minutes=5), **marked)

    await merge(store, first, second)
    await merge(store, late)

    assert await kept(store) == [expected]


@pytest.mark.parametrize("order", list(itertools.permutations(range(4))), ids=str)
async def test_the_order_of_writes_does_not_matter(store, order):
    """An existing origin is only extended: no write moves the last time back, the first time forward, or drops an alert."""
    await add_workers(store, worker("w-1"))
    marked = {"elsewhere_at": NOON + timedelta(minutes=2), "session_address": "198.51.100.1"}
    seen = [
        origin(minute=2, address="192.0.2.9", **marked),
        origin(minute=1, last_at=NOON + timedelta(minutes=5), address="192.0.2.8"),
        origin(minute=3),
        origin(minute=0, last_at=NOON + timedelta(minutes=4)),
    ]
    for number in order:
        await merge(store, seen[number])

    last = {"last_at": NOON + timedelta(minutes=5), "address": "192.0.2.8"}
    assert await kept(store) == [origin(minute=0, **last, **marked)]


async def test_the_last_few_origins_of_each_worker_are_kept(store):
    """The oldest are dropped, those that raised an alert last; other Workers' stay, and deleted Workers have none."""
    await add_workers(store, worker("w-1"), worker("w-2"))
    alarm = origin(minute=-1, network="203.0.113.0/24", elsewhere_at=NOON, session_address="192.0.2.7")
    many = [origin(minute=n, audience=f"https://{n}.example") for n in range(30)]

    await merge(store, alarm, origin("w-2"), origin("w-gone"), *many[:10])
    await merge(store, *many[10:])

    assert await kept(store) == [*many[:-16:-1], alarm]
    assert await kept(store, "w-2", "w-gone") == [origin("w-2")]
    await store.write(lambda tx: workers.delete_worker(tx, "w-1"))
    assert await kept(store) == []


async def test_alerts_leave_room_for_other_origins(store):
    """A thief that requests tokens from many networks does not keep later origins from being recorded."""
    await add_workers(store, worker("w-1"))
    marked = {"session_address": "192.0.2.7", "elsewhere_at": NOON}
    alarms = [origin(minute=n, network=f"203.0.{n}.0/24", **marked) for n in range(20)]
    later = [origin(minute=30 + n, audience=f"https://{n}.example") for n in range(12)]

    await merge(store, *alarms)
    for one in later:
        await merge(store, one)

    found = await kept(store)
    assert len(found) == token_origins.KEPT_OF_A_WORKER
    assert found[:8] == later[:-9:-1]
    assert all(one.elsewhere_at is not None for one in found[8:])


async def test_origins_are_found_by_credential_and_time(store):
    """From that moment on, inclusive."""
    await add_workers(store, worker("w-1"), worker("w-2"))
    await merge(store, origin(minute=1), origin("w-2", minute=2), origin("w-2", credential="jkt.x", minute=3))

    async def find(minute):
        since = NOON + timedelta(minutes=minute)
        found = await store.read(
            lambda conn: token_origins.list_by_credential(conn, {"key.AAAAAAAAAA"}, since=since)
        )
        return [one.worker_id for one in found], len(
            await store.read(lambda conn: token_origins.list_since(conn, since))
        )

    assert [await find(minute) for minute in (1, 2, 3)] == [(["w-2", "w-1"], 3), (["w-2"], 2), ([], 1)]
