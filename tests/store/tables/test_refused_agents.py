"""What the fleet policy refused, by the family of the Workers' names."""

from datetime import timedelta

from tests.builders import NOON

from lyftdata.core.fleet_policy import RefusedAgentRecord
from lyftdata.store.tables import refused_agents
from lyftdata.store.tables.refused_agents import RefusedStarts


def refused(*seen, family="etl-*", attempts=1, at=NOON):
    """Return what was refused of a family: starts as Worker ID and boot ID."""
    worker_id, boot_id = seen[-1]
    latest = RefusedAgentRecord(
        family=family,
        worker_id=worker_id,
        boot_id=boot_id,
        version="1.1",
        hostname="rack-7",
        address="192.0.2.1",
        attempts=attempts,
        starts=0,
        entries=0,
        first_at=at,
        last_at=at,
    )
    return RefusedStarts(latest=latest, seen=seen)


async def written(store, *batches):
    """Write what was refused, each batch as another Server would; return what is known of it."""
    for batch in batches:
        await store.write(lambda tx, batch=batch: refused_agents.add_starts(tx, [batch]))
    return await store.read(lambda conn: refused_agents.list_since(conn, NOON - timedelta(days=1)))


async def test_a_start_that_two_servers_saw_is_counted_once(store):
    """Its attempts are added up; what is another start or another entry is told by the last one known."""
    [found] = await written(
        store,
        refused(("w-1", "boot-1"), attempts=3),
        refused(("w-1", "boot-1"), ("w-1", "boot-2"), attempts=2),
        refused(("w-1", "boot-2"), ("w-2", "boot-3"), attempts=4),
    )
    assert (found.attempts, found.starts, found.entries) == (9, 3, 2)
    assert (found.worker_id, found.boot_id, found.first_at) == ("w-2", "boot-3", NOON)


async def test_a_count_begins_again_after_an_hour(store):
    """And what was refused before is gone once something else is written."""
    late = NOON + timedelta(hours=1, seconds=1)
    [found] = await written(
        store,
        refused(("w-1", "boot-1"), attempts=5),
        refused(("w-9", "boot-9"), family="press"),
        refused(("w-1", "boot-2"), at=late),
    )
    assert (found.family, found.attempts, found.starts, found.first_at) == ("etl-*", 1, 1, late)


async def test_a_flood_of_names_keeps_the_latest(store, monkeypatch):
    """Made-up names do not fill the database."""
    monkeypatch.setattr(refused_agents, "MAX_FAMILIES", 2)
    found = await written(
        store,
        *(
            refused(("w", "b"), family=f"f-{number}", at=NOON + timedelta(seconds=number))
            for number in range(4)
        ),
    )
    assert {record.family for record in found} == {"f-2", "f-3"}
