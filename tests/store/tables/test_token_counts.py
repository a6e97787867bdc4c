"""How many tokens each Worker got in each hour."""

from datetime import timedelta

from tests.builders import NOON, worker
from tests.store.conftest import add_workers

from lyftdata.core.records import TokenCountRecord
from lyftdata.store.tables import token_counts, workers


def count(worker_id="w-1", hours=0, tokens=1):
    """Return a count of the hour so many hours after noon."""
    return TokenCountRecord(worker_id, NOON + timedelta(hours=hours), tokens)


async def add(store, *counts):
    """Write counts."""
    await store.write(lambda tx: token_counts.add_counts(tx, counts))


async def kept(store, worker_id="w-1", *, hours=-1_000):
    """Return the stored counts of a Worker from so many hours after noon on."""
    since = NOON + timedelta(hours=hours)
    return await store.read(lambda conn: token_counts.list_counts(conn, worker_id, since=since))


async def test_counts_of_one_hour_are_added_up(store):
    """From one Server or several, also if one write has an hour twice; each Worker has its own."""
    await add_workers(store, worker("w-1"), worker("w-2"))

    await add(store, count(tokens=2), count(tokens=3), count(hours=1), count("w-2", tokens=9))
    await add(store, count(tokens=4), count(hours=12), count("w-gone"))

    assert await kept(store) == [count(tokens=9), count(hours=1), count(hours=12)]
    assert await kept(store, "w-2") == [count("w-2", tokens=9)]
    assert await kept(store, "w-gone") == []


async def test_counts_are_listed_from_an_hour_on(store):
    """That hour is included."""
    await add_workers(store, worker("w-1"))
    await add(store, *(count(hours=hours) for hours in (-13, 0, 1, 20)))

    assert [one.hour for one in await kept(store, hours=1)] == [count(hours=h).hour for h in (1, 20)]


async def test_days_before_a_time_are_deleted(store):
    """The day of that time is kept whole; counts are deleted with their Worker."""
    await add_workers(store, worker("w-1"), worker("w-2"))
    await add(store, *(count(hours=hours) for hours in (-24, -12, 0)), count("w-2"))

    await store.write(lambda tx: token_counts.prune(tx, keep_since=NOON))
    assert await kept(store) == [count(hours=-12), count(hours=0)]
    await store.write(lambda tx: workers.delete_worker(tx, "w-2"))
    assert await kept(store, "w-2") == []
