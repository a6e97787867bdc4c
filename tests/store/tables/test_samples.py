"""Samples of the fleet, one per minute."""

from datetime import timedelta

from tests.builders import NOON

from lyftdata.core.records import (
    Sample,
)
from lyftdata.store.tables import (
    samples,
)


async def test_minutes_are_stored_in_order_and_old_ones_are_removed(store):
    """A minute written twice is stored once; those before the limit are removed."""
    minutes = [NOON + timedelta(minutes=n) for n in (0, 2, 1, 1)]
    for n, at in enumerate(minutes):
        sample = Sample(at=at, online=n, admitted=n, refused=0)
        await store.write(lambda tx, sample=sample: samples.add_sample(tx, sample, keep_since=NOON))
    kept = await store.read(lambda conn: samples.summed_samples(conn, since=NOON, step_s=60))
    assert [(sample.at, sample.online) for sample in kept] == [(NOON, 0), (minutes[2], 3), (minutes[1], 1)]
    last = Sample(at=NOON + timedelta(minutes=3), online=0, admitted=0, refused=0)
    await store.write(lambda tx: samples.add_sample(tx, last, keep_since=minutes[1]))

    assert len(await store.read(lambda conn: samples.summed_samples(conn, since=NOON, step_s=60))) == 2


async def test_minutes_are_summed_in_steps(store):
    """Each step has the peak of connected Workers and the sums; steps without a minute are left out."""
    for minute, online in ((0, 3), (9, 5), (10, 2), (35, 7)):
        sample = Sample(at=NOON + timedelta(minutes=minute), online=online, admitted=minute, refused=1)
        await store.write(lambda tx, sample=sample: samples.add_sample(tx, sample, keep_since=NOON))

    found = await store.read(lambda conn: samples.summed_samples(conn, since=NOON, step_s=600))

    assert [((s.at - NOON).seconds // 60, s.online, s.admitted, s.refused) for s in found] == [
        (0, 5, 9, 2),
        (10, 2, 10, 1),
        (30, 7, 35, 1),
    ]


async def test_what_several_servers_count_in_a_minute_is_added_up(store):
    """Each writes its own admissions and refusals, and all of them know how many Workers are connected."""
    for admitted, refused in ((5, 1), (7, 0)):
        sample = Sample(at=NOON, online=3, admitted=admitted, refused=refused)
        await store.write(lambda tx, sample=sample: samples.add_sample(tx, sample, keep_since=NOON))

    (found,) = await store.read(lambda conn: samples.summed_samples(conn, since=NOON, step_s=60))

    assert (found.online, found.admitted, found.refused) == (3, 12, 1)
