"""API keys: what is stored for each generation, and that of two concurrent callers exactly one wins."""

import asyncio
from datetime import timedelta

import pytest
from tests.builders import NOON, api_key
from tests.store.conftest import count_successes

from lyftdata.core.errors import ConflictError
from lyftdata.store.tables import (
    api_keys,
)


async def test_a_key_and_its_workers_are_stored(store):
    """Every field is read back, including the chosen Workers."""
    key = api_key(for_all_workers=False, worker_ids=("w-1", "w-2"), expires_at=NOON, digest=b"d" * 32)
    await store.write(lambda tx: api_keys.insert_api_key(tx, key))

    assert await store.read(lambda conn: api_keys.find_by_name(conn, key.name)) == [key]


async def test_of_twenty_racing_for_a_key_name_one_wins(store):
    """The name of a key is never given again, even after the key was revoked."""
    racing = [
        store.write(lambda tx, n=n: api_keys.insert_api_key(tx, api_key(f"PUBLIC{n:04}", name="press-keys")))
        for n in range(20)
    ]

    assert await count_successes(racing) == 1
    await store.write(lambda tx: api_keys.revoke_api_key(tx, "press-keys", NOON))
    with pytest.raises(ConflictError):
        await store.write(lambda tx: api_keys.insert_api_key(tx, api_key("OTHER", name="press-keys")))


async def test_keys_are_sorted_by_last_use(store):
    """Unused keys are left out; the order of keys used at the same moment is stable."""
    used = {"A": NOON, "B": NOON - timedelta(hours=1), "C": NOON}

    def op(tx):
        for public_id in ("C", "A", "B", "D"):
            api_keys.insert_api_key(tx, api_key(public_id, name=f"key-{public_id}"))
        api_keys.touch_last_used(tx, {public_id: (at, "w-1") for public_id, at in used.items()})

    await store.write(op)

    assert await store.read(api_keys.ids_by_last_use) == ["B", "A", "C"]


async def test_rotation_expires_the_old_generation_after_the_grace_period(store):
    """The old generation never gets a later expiry than it had."""
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


async def test_revoking_a_key_revokes_every_generation(store, published):
    """Each of them is published."""
    await store.write(lambda tx: api_keys.insert_api_key(tx, api_key("A", name="press-keys")))
    second = api_key("B", name="press-keys", generation=2)
    await store.write(
        lambda tx: api_keys.rotate_api_key(tx, second, previous_expire_at=NOON + timedelta(days=1))
    )
    published.clear()

    revoked = await store.write(lambda tx: api_keys.revoke_api_key(tx, "press-keys", NOON))

    assert [key.revoked_at for key in revoked] == [NOON, NOON]
    assert {change.public_id for change in published} == {"A", "B"}


async def test_the_last_use_is_stored(store):
    """With the time and the Worker; an unused key has none."""
    await store.write(lambda tx: api_keys.insert_api_key(tx, api_key("A")))
    await store.write(lambda tx: api_keys.insert_api_key(tx, api_key("B")))
    await store.write(lambda tx: api_keys.touch_last_used(tx, {"A": (NOON, "w-1"), "gone": (NOON, "w-2")}))

    assert await store.read(lambda conn: api_keys.last_used(conn, ["A", "B"])) == {"A": (NOON, "w-1")}
    assert await store.read(api_keys.ids_by_last_use) == ["A"]


async def test_an_earlier_use_does_not_replace_a_later_one(store):
    """A Server may write its uses later than another Server wrote newer ones."""
    await store.write(lambda tx: api_keys.insert_api_key(tx, api_key("A")))
    for use in ((NOON, "w-1"), (NOON - timedelta(seconds=1), "w-2")):
        await store.write(lambda tx, use=use: api_keys.touch_last_used(tx, {"A": use}))

    assert await store.read(lambda conn: api_keys.last_used(conn, ["A"])) == {"A": (NOON, "w-1")}


async def test_more_keys_than_a_statement_can_have_parameters(store, published):
    """A fleet with a key for each Worker is looked up, and so is an empty list."""
    many = [f"P{n:05}" for n in range(40_000)]
    await store.write(lambda tx: api_keys.insert_api_key(tx, api_key("P00007")))
    await store.write(lambda tx: api_keys.touch_last_used(tx, {"P00007": (NOON, "w-1")}))
    await store.write(lambda tx: api_keys.touch_last_used(tx, {}))

    assert await store.read(lambda conn: api_keys.last_used(conn, many)) == {"P00007": (NOON, "w-1")}
    assert await store.read(lambda conn: api_keys.last_used(conn, [])) == {}


async def test_a_generation_is_created_once(store):
    """Of twenty concurrent rotations to the second generation, one succeeds."""
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


async def test_all_keys_are_read_with_their_workers(store):
    """Each generation is for the Workers it was issued for, in order, and a key for none is for none."""
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


async def test_workers_added_to_a_key_are_sorted(store, published):
    """The published record equals the one read later: its Workers are looked up by binary search."""
    key = api_key("A", name="press-keys", for_all_workers=False, worker_ids=("w-2",))
    await store.write(lambda tx: api_keys.insert_api_key(tx, key))

    (wider,) = await store.write(lambda tx: api_keys.allow_workers(tx, "press-keys", ["w-3", "w-1", "w-2"]))

    assert wider.worker_ids == ("w-1", "w-2", "w-3")
    assert published[-1].record == wider
