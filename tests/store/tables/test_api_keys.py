"""API keys: what is kept of each generation, and that of two callers exactly one wins."""

import asyncio
from datetime import timedelta

import pytest
from tests.builders import NOON, api_key
from tests.store.conftest import winners

from lyftdata.core.errors import ConflictError
from lyftdata.store.tables import (
    api_keys,
)


async def test_a_key_and_its_scope_are_kept(store):
    """Every field comes back, the chosen Workers too."""
    key = api_key(for_all_workers=False, worker_ids=("w-1", "w-2"), expires_at=NOON, digest=b"d" * 32)
    await store.write(lambda tx: api_keys.insert_api_key(tx, key))

    assert await store.read(lambda conn: api_keys.find_by_name(conn, key.name)) == [key]


async def test_of_twenty_that_race_for_a_key_name_one_wins(store):
    """A key's name is given once, also after it was revoked."""
    racing = [
        store.write(lambda tx, n=n: api_keys.insert_api_key(tx, api_key(f"PUBLIC{n:04}", name="press-keys")))
        for n in range(20)
    ]

    assert await winners(racing) == 1
    await store.write(lambda tx: api_keys.revoke_api_key(tx, "press-keys", NOON))
    with pytest.raises(ConflictError):
        await store.write(lambda tx: api_keys.insert_api_key(tx, api_key("OTHER", name="press-keys")))


async def test_keys_are_sorted_by_their_last_use(store):
    """What was never used is left out; of two that were used at once, the order is the same at every look."""
    used = {"A": NOON, "B": NOON - timedelta(hours=1), "C": NOON}

    def op(tx):
        for public_id in ("C", "A", "B", "D"):
            api_keys.insert_api_key(tx, api_key(public_id, name=f"key-{public_id}"))
        api_keys.touch_last_used(tx, {public_id: (at, "w-1") for public_id, at in used.items()})

    await store.write(op)

    assert await store.read(api_keys.ids_by_last_use) == ["B", "A", "C"]


async def test_rotation_ends_the_old_generation_at_the_grace(store):
    """The old generation gets an end and never a later one than it had."""
    end = NOON + timedelta(hours=1)
    await store.write(lambda tx: api_keys.insert_api_key(tx, api_key("A", name="press-keys")))
    second = api_key("B", name="press-keys", generation=2)
    await store.write(lambda tx: api_keys.rotate_api_key(tx, second, previous_expire_at=end))
    third = api_key("C", name="press-keys", generation=3)
    await store.write(
        lambda tx: api_keys.rotate_api_key(tx, third, previous_expire_at=end + timedelta(days=1))
    )

    ends = [
        key.expires_at for key in await store.read(lambda conn: api_keys.find_by_name(conn, "press-keys"))
    ]
    assert ends == [end, end + timedelta(days=1), None]


async def test_revoking_takes_every_generation_and_tells(store, published):
    """No generation of a revoked key works on."""
    await store.write(lambda tx: api_keys.insert_api_key(tx, api_key("A", name="press-keys")))
    second = api_key("B", name="press-keys", generation=2)
    await store.write(
        lambda tx: api_keys.rotate_api_key(tx, second, previous_expire_at=NOON + timedelta(days=1))
    )
    published.clear()

    revoked = await store.write(lambda tx: api_keys.revoke_api_key(tx, "press-keys", NOON))

    assert [key.revoked_at for key in revoked] == [NOON, NOON]
    assert {change.public_id for change in published} == {"A", "B"}


async def test_last_use_is_noted(store):
    """When and by whom a key was last used comes back; an unused one has none."""
    await store.write(lambda tx: api_keys.insert_api_key(tx, api_key("A")))
    await store.write(lambda tx: api_keys.insert_api_key(tx, api_key("B")))
    await store.write(lambda tx: api_keys.touch_last_used(tx, {"A": (NOON, "w-1"), "gone": (NOON, "w-2")}))

    assert await store.read(lambda conn: api_keys.last_used(conn, ["A", "B"])) == {"A": (NOON, "w-1")}
    assert await store.read(api_keys.ids_by_last_use) == ["A"]


async def test_a_later_use_stays(store):
    """A Server that writes what it has noted earlier does not replace what another one has noted since."""
    await store.write(lambda tx: api_keys.insert_api_key(tx, api_key("A")))
    for use in ((NOON, "w-1"), (NOON - timedelta(seconds=1), "w-2")):
        await store.write(lambda tx, use=use: api_keys.touch_last_used(tx, {"A": use}))

    assert await store.read(lambda conn: api_keys.last_used(conn, ["A"])) == {"A": (NOON, "w-1")}


async def test_a_fleet_with_a_key_for_each_worker(store, published):
    """More keys than a database takes values in one statement work, and so does an empty list."""
    many = [f"P{n:05}" for n in range(40_000)]
    await store.write(lambda tx: api_keys.insert_api_key(tx, api_key("P00007")))
    await store.write(lambda tx: api_keys.touch_last_used(tx, {"P00007": (NOON, "w-1")}))
    await store.write(lambda tx: api_keys.touch_last_used(tx, {}))

    assert await store.read(lambda conn: api_keys.last_used(conn, many)) == {"P00007": (NOON, "w-1")}
    assert await store.read(lambda conn: api_keys.last_used(conn, [])) == {}


async def test_a_generation_is_made_once(store):
    """Of twenty that rotate a key to its second generation at once, one does."""
    await store.write(lambda tx: api_keys.insert_api_key(tx, api_key("A", name="press-keys")))
    racing = [
        store.write(
            lambda tx, n=n: api_keys.rotate_api_key(
                tx, api_key(f"B{n}", name="press-keys", generation=2), previous_expire_at=NOON
            )
        )
        for n in range(20)
    ]
    outcomes = await asyncio.gather(*racing, return_exceptions=True)

    assert sum(outcome is None for outcome in outcomes) == 1
    assert {outcome.code for outcome in outcomes if isinstance(outcome, ConflictError)} == {
        "api_key_name_taken"
    }


async def test_all_keys_are_as_each_by_its_name(store):
    """Read at once, each generation is for the very Workers it was issued for, in order, and a key for none is for none."""
    expected = [
        api_key("A", name="for-all", digest=b"a" * 32),
        api_key("B", name="for-one", for_all_workers=False, worker_ids=("w-2",)),
        api_key("C", name="for-three", for_all_workers=False, worker_ids=("w-1", "w-10", "w-2")),
        api_key("D", name="for-none", for_all_workers=False, expires_at=NOON),
    ]
    for key in expected:
        await store.write(lambda tx, key=key: api_keys.insert_api_key(tx, key))
    await store.write(lambda tx: api_keys.touch_last_used(tx, {"B": (NOON, "w-2")}))

    found = await store.read_tables(lambda conn: list(api_keys.all_api_keys(conn)))

    assert sorted(found, key=lambda key: key.public_id) == expected


async def test_workers_that_are_added_to_a_key_come_in_order(store, published):
    """What is published of a key is what is read of it: a Worker is looked for by halves."""
    key = api_key("A", name="press-keys", for_all_workers=False, worker_ids=("w-2",))
    await store.write(lambda tx: api_keys.insert_api_key(tx, key))

    (wider,) = await store.write(lambda tx: api_keys.allow_workers(tx, "press-keys", ["w-3", "w-1", "w-2"]))

    assert wider.worker_ids == ("w-1", "w-2", "w-3")
    assert published[-1].record == wider
