"""Workers refused by the fleet policy, by the family of their names."""

from datetime import timedelta

from tests.builders import NOON

from lyftdata.core.fleet_policy import RefusedAgentRecord
from lyftdata.store.tables import refused_agents
from lyftdata.store.tables.refused_agents import RefusedStarts


def refused(*seen, family="etl-*", attempts=1, at=NOON):
    """Return the refused boots of a family, as Worker ID and boot ID."""
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
    """Write refused boots, each batch as another Server would; return the stored records."""
    for batch in batches:
        await store.write(lambda tx, batch=batch: refused_agents.add_starts(tx, [batch]))
    return await store.read(lambda conn: refused_agents.list_since(conn, NOON - timedelta(days=1)))


async def test_a_boot_refused_by_two_servers_is_counted_once(store):
    """Its attempts are added up; whether it is another boot or entry is decided by the last stored one."""
    [found] = await written(
        store,
        refused(("w-1", "boot-1"), attempts=3),
        refused(("w-1", "boot-1"), ("w-1", "boot-2"), attempts=2),
        refused(("w-1", "boot-2"), ("w-2", "boot-3"), attempts=4),
    )
    assert (found.attempts, found.starts, found.entries) == (9, 3, 2)
    assert (found.worker_id, found.boot_id, found.first_at) == ("w-2", "boot-3", NOON)


async def test_a_count_restarts_after_an_hour(store):
    """Older records are deleted when something else is written."""
    late = NOON + timedelta(hours=1, seconds=1)
    [found] = await written(
        store,
        refused(("w-1", "boot-1"), attempts=5),
        refused(("w-9", "boot-9"), family="press"),
        refused(("w-1", "boot-2"), at=late),
    )
    assert (found.family, found.attempts, found.starts, found.first_at) == ("etl-*", 1, 1, late)


async def test_only_the_latest_families_of_a_flood_are_kept(store, monkeypatch):
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
