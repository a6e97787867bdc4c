"""How many agents of each version there were: an hour is written once, and one hour of each day is kept longer."""

import asyncio
from datetime import timedelta

from tests.builders import NOON

from lyftdata.core.records import VersionCountRecord
from lyftdata.store.tables import version_counts

HOUR = timedelta(hours=1)


def counted(at, *pairs):
    """Return counts of an hour."""
    return [VersionCountRecord(at, version, workers) for version, workers in pairs]


async def write(store, at, *pairs):
    """Write an hour; return whether it was new."""
    return await store.write(lambda tx: version_counts.add_counts(tx, at, counted(at, *pairs)))


async def listed(store, *, since=NOON - timedelta(days=9), by_day=False):
    """Return the stored counts."""
    return await store.read(lambda conn: version_counts.list_counts(conn, since=since, by_day=by_day))


async def test_an_hour_is_written_once(store):
    """Several Servers count the same fleet: numbers are not added up, and not mixed."""
    assert not await store.read(lambda conn: version_counts.has_counts(conn, NOON))
    others = [("1.4", 3), ("", 2), (None, 9)], [("1.3", 7)]

    done = await asyncio.gather(*(write(store, NOON, *pairs) for pairs in (*others, *others)))

    assert sorted(done) == [False, False, False, True]
    assert await store.read(lambda conn: version_counts.has_counts(conn, NOON))
    assert await listed(store) in [counted(NOON, *pairs) for pairs in others]
    assert not await write(store, NOON + HOUR)
    assert not await store.read(lambda conn: version_counts.has_counts(conn, NOON + HOUR))


async def test_old_hours_are_removed_except_one_of_each_day(store):
    """The first one written on a day represents it; the versions of an hour keep their order."""
    for hours in (-30, -20, -6, 1, 0):
        await write(store, NOON + hours * HOUR, ("1.3", 10 + hours), ("1.10", 1))
    assert [(c.at, c.version) for c in await listed(store)][:3] == [
        (NOON - 30 * HOUR, "1.3"),
        (NOON - 30 * HOUR, "1.10"),
        (NOON - 20 * HOUR, "1.3"),
    ]
    days = [NOON - 30 * HOUR, NOON - 6 * HOUR]
    assert sorted({c.at for c in await listed(store, by_day=True)}) == days

    await store.write(lambda tx: version_counts.prune(tx, hours_since=NOON, days_since=NOON - 40 * HOUR))
    assert sorted({c.at for c in await listed(store)}) == [*days, NOON, NOON + HOUR]
    await store.write(lambda tx: version_counts.prune(tx, hours_since=NOON, days_since=NOON - 10 * HOUR))
    assert sorted({c.at for c in await listed(store)}) == [days[1], NOON, NOON + HOUR]


async def test_a_version_may_be_any_text(store):
    """Reported text is passed as a parameter; an empty version differs from the row that counts the rest."""
    odd = ("'; DROP TABLE version_counts; --", 1), ("\u05d0\u202e<b>" + "x" * 100, 2), ("", 3), (None, 4)
    await write(store, NOON, *odd)

    assert await listed(store) == counted(NOON, *odd)
