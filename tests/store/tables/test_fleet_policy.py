"""The fleet policy for agent versions."""

from datetime import timedelta

from tests.builders import NOON

from lyftdata.core.fleet_policy import FleetPolicyRecord
from lyftdata.store.changes import FleetPolicyChanged
from lyftdata.store.tables import fleet_policy

POLICY = FleetPolicyRecord(
    warn_below="1.4",
    refuse_below="1.2",
    refuse_from=NOON + timedelta(days=30),
    set_at=NOON,
    set_by="operator:ada",
)


async def test_there_is_at_most_one_policy(store, published):
    """A later one replaces it, and each change is published."""
    assert await store.read(fleet_policy.find_policy) is None
    await store.write(lambda tx: fleet_policy.write_policy(tx, POLICY))
    await store.write(lambda tx: fleet_policy.write_policy(tx, POLICY))
    assert await store.read(fleet_policy.find_policy) == POLICY
    assert await store.write(fleet_policy.clear_policy)
    assert not await store.write(fleet_policy.clear_policy)
    assert await store.read(fleet_policy.find_policy) is None
    assert published[0] == FleetPolicyChanged(POLICY)
    assert published[-1] == FleetPolicyChanged(None)
