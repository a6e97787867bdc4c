"""The name of a key that is issued with its Worker: it is generated, so it must never cause an error."""

import random

import pytest
from tests.builders import seeded_bytes

from lyftdata.core.actor import Actor
from lyftdata.core.names import parse_api_key_name
from lyftdata.core.records import Role
from lyftdata.server.admin.api_keys import ApiKeys
from lyftdata.server.admin.second_operator.gate import SecondOperatorGate
from lyftdata.server.admin.workers import Workers

ACTOR = Actor(operator="admin", role=Role.ADMIN, session_id="s", address="192.0.2.1")
RACK = "node.rack-17.row-4.eu-central-1.compute.example"


def fleet_of(server, random_bytes):
    """Return the use case for Workers, with keys from another source of random bytes."""
    common = {
        "store": server.services.store,
        "clock": server.clock,
        "known_secrets": server.services.known_secrets,
    }
    keys = ApiKeys(**common, random_bytes=random_bytes)
    gate = SecondOperatorGate(store=server.services.store, clock=server.clock, random_bytes=random_bytes)
    return Workers(**common, api_keys=keys, gate=gate, random_bytes=random_bytes)


async def named_after(fleet, worker_id):
    """Add a Worker with its own key; return the key's name."""
    _, issued = await fleet.add(worker_id, worker_id=worker_id, labels={}, issue_key=True, actor=ACTOR)
    return issued.record.name


@pytest.mark.parametrize("worker_id", ["a", "1.2", "press-01", "x" * 64, "9" + "." * 63, f"{RACK}-0001"])
async def test_every_worker_id_gives_a_valid_key_name(server, worker_id):
    """One letter, 64 letters, dots: the Worker and its key are added."""
    name = await named_after(fleet_of(server, seeded_bytes(1)), worker_id)

    assert parse_api_key_name(name) == name
    assert name.startswith(worker_id[0])


async def test_a_name_collision_is_resolved_by_drawing_again(server):
    """Even with the key of a deleted Worker: the new Worker is added."""
    draws = iter([b"\x01" * 3, b"\x01" * 3, b"\x01" * 3, b"\x02" * 3])
    others = seeded_bytes(2)
    fleet = fleet_of(server, lambda size: next(draws) if size == 3 else others(size))

    first = await named_after(fleet, "press.01")
    await fleet.delete("press.01", actor=ACTOR)
    second = await named_after(fleet, "press-01")

    assert (first, second) == ("press-01-key-010101", "press-01-key-020202")


async def test_the_key_names_of_long_ids_are_distinguishable(server):
    """If IDs differ only at their end, the names differ in more than the random part."""
    fleet = fleet_of(server, seeded_bytes(3))
    numbers = random.Random(4).sample(range(10_000), 3)
    names = [await named_after(fleet, f"{RACK}-{number:04}") for number in numbers]

    stems = {name.rpartition("-key-")[0] for name in names}
    assert all(
        stem.endswith(f"-{number:04}") for stem, number in zip(sorted(stems), sorted(numbers), strict=True)
    )
