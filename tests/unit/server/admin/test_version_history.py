"""The agent versions of the fleet over time: counted once an hour, in a limited number of rows."""

from datetime import timedelta

import pytest
from tests.builders import NOON

from lyftdata.core.fleet_policy import VersionStanding
from lyftdata.server.admin.fleet_versions import FleetVersions, VersionShare
from lyftdata.server.admin.schemas.fleet_policy import VersionPeriod
from lyftdata.server.admin.version_history import MAX_NAMED, VersionHistories, most_common
from lyftdata.store.tables import version_counts


def shares(**workers):
    """Return how many Workers there are of each version; `v1_4` is 1.4."""
    return [
        VersionShare(
            version=name.removeprefix("v").replace("_", "."),
            workers=number,
            online=0,
            standing=VersionStanding.CURRENT,
        )
        for name, number in workers.items()
    ]


class Fleet(FleetVersions):
    """Counts the agents; a test sets the numbers."""

    def __init__(self):
        self.now = []
        self.asked = 0

    async def shares(self):
        """Return the current numbers."""
        self.asked += 1
        return self.now


@pytest.fixture
def fleet():
    """Return the fleet that is counted."""
    return Fleet()


@pytest.fixture
def histories(server, fleet):
    """Return the history of that fleet, in a Server's database."""
    return VersionHistories(store=server.services.store, versions=fleet, clock=server.clock)


def points(history):
    """Return the hours since noon, and the numbers of each."""
    return [
        ((p.at - NOON) / timedelta(hours=1), {c.version: c.workers for c in p.versions}, p.others)
        for p in history.points
    ]


async def test_each_hour_is_counted_once(histories, fleet, server):
    """By the first run in that hour that finds Workers; later runs do not count again."""
    assert not await histories.look()
    fleet.now = shares(v1_3=5, v1_4=1)
    server.clock.forward(minutes=20)
    assert await histories.look()
    fleet.now = shares(v1_3=2, v1_4=4)
    server.clock.forward(minutes=39)
    assert not await histories.look()
    assert fleet.asked == 2
    server.clock.forward(minutes=1)
    assert await histories.look()

    week = await histories.of(VersionPeriod.WEEK)

    assert points(week) == [(0, {"1.3": 5, "1.4": 1}, 0), (1, {"1.4": 4, "1.3": 2}, 0)]
    assert [c.version for c in week.points[1].versions] == ["1.4", "1.3"]
    assert (week.step_s, week.until - week.since) == (3600, timedelta(days=7))


async def test_a_fleet_counted_by_a_peer_is_not_counted_again(histories, fleet, server):
    """The numbers of the peer are used: the fleet is the same."""
    fleet.now = shares(v1_4=3)
    await histories.look()
    other = Fleet()
    other.now = shares(v1_4=3)
    second = VersionHistories(store=server.services.store, versions=other, clock=server.clock)

    assert not await second.look()

    assert other.asked == 0
    assert points(await second.of(VersionPeriod.WEEK)) == [(0, {"1.4": 3}, 0)]


def test_beyond_a_number_of_versions_the_rest_is_one_number():
    """A Worker may report any text, a different one each hour: rows are limited, and every Worker is counted."""
    many = {f"v{n}": 50 - n for n in range(40)}

    found = most_common(shares(**many), at=NOON)

    assert len(found) == MAX_NAMED + 1
    assert [count.version for count in found[:2]] == ["0", "1"]
    assert (found[-1].version, sum(count.workers for count in found)) == (None, sum(many.values()))
    assert [count.version for count in most_common(shares(v1=1, v=2), at=NOON)] == ["", "1"]
    assert most_common([], at=NOON) == []


async def test_a_year_has_one_point_per_day_and_the_last_hour(histories, fleet, server):
    """Days begin at midnight, whenever they were first counted; today's last hour is included."""
    for day in range(3):
        for hour in (0, 3):
            fleet.now = shares(v1_4=10 * day + hour + 1)
            server.clock.now = NOON + timedelta(days=day, hours=hour)
            await histories.look()

    year = await histories.of(VersionPeriod.YEAR)

    assert points(year) == [
        (-12, {"1.4": 1}, 0),
        (12, {"1.4": 11}, 0),
        (36, {"1.4": 21}, 0),
        (51, {"1.4": 24}, 0),
    ]
    assert year.step_s == 86_400


async def test_old_counts_are_removed_with_the_next_hour(histories, fleet, server):
    """Hours after eight days, days after 400: at most about 8,000 rows."""
    fleet.now = shares(v1_4=1)
    for days in (0, 5, 9, 402):
        for minutes in (0, 60):
            server.clock.now = NOON + timedelta(days=days, minutes=minutes)
            await histories.look()

    kept = await server.services.store.read(
        lambda conn: version_counts.list_counts(conn, since=NOON - timedelta(days=1), by_day=False)
    )

    assert [(count.at - NOON) / timedelta(hours=1) for count in kept] == [
        5 * 24,
        9 * 24,
        402 * 24,
        402 * 24 + 1,
    ]
