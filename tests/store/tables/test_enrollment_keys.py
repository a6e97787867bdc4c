"""Enrollment keys that operators issue: generations, and uses that are counted exactly."""

import asyncio
from datetime import timedelta

import pytest
from sqlalchemy import null, update
from tests.builders import NOON
from tests.store.conftest import winners

from lyftdata.core.errors import ConflictError
from lyftdata.core.records import EnrollmentKeyRecord, EnrollmentMode
from lyftdata.store import schema
from lyftdata.store.changes import EnrollmentKeyChanged
from lyftdata.store.tables import enrollment_keys


def key(public_id="A", **fields):
    """Return a key named `hosts`."""
    values = {
        "public_id": public_id,
        "name": "hosts",
        "public_key": f"x-of-{public_id}",
        "digest": public_id.encode() * 32,
        "created_at": NOON,
        "created_by": "operator:admin",
    }
    return EnrollmentKeyRecord(**values | fields)


async def insert(store, record):
    """Store a key's first generation."""
    await store.write(lambda tx: enrollment_keys.insert_enrollment_key(tx, record))


async def spend(store, public_id="A", now=NOON):
    """Use a key; return whether it may be used."""
    return await store.write(lambda tx: enrollment_keys.spend_use(tx, public_id, now))


async def test_a_key_and_its_rules_are_kept(store):
    """Every field comes back."""
    record = key(
        worker_name="press-*",
        networks=["192.0.2.0/24"],
        labels={"site": "north"},
        max_uses=3,
        expires_at=NOON,
    )
    await insert(store, record)

    assert await store.read(lambda conn: enrollment_keys.find_enrollment_key(conn, "A")) == record
    assert await store.read(lambda conn: list(enrollment_keys.all_enrollment_keys(conn))) == [record]
    assert await store.read(lambda conn: enrollment_keys.find_enrollment_key(conn, "B")) is None


async def test_of_ten_that_race_for_a_name_one_wins(store):
    """A key's name is given once, also after it was revoked."""
    assert await winners(insert(store, key(f"K{n}")) for n in range(10)) == 1

    await store.write(lambda tx: enrollment_keys.revoke_enrollment_key(tx, "hosts", NOON))
    with pytest.raises(ConflictError) as refused:
        await insert(store, key("OTHER"))
    assert refused.value.code == "enrollment_key_name_taken"


async def test_of_ten_that_use_a_key_for_three_hosts_three_may(store):
    """Uses are counted exactly, even in a race; one that is returned can be used again."""
    await insert(store, key(max_uses=3))

    assert sum(await asyncio.gather(*(spend(store) for _ in range(10)))) == 3
    assert await store.read(enrollment_keys.count_uses) == {"A": (3, 0)}
    await store.write(lambda tx: enrollment_keys.return_use(tx, "A"))
    assert [await spend(store), await spend(store)] == [True, False]


async def test_uses_against_the_rules_are_counted_apart(store):
    """One that is returned counts neither as a use nor as a warning."""
    await insert(store, key())

    for is_warned in (True, False, True):
        await store.write(
            lambda tx, warned=is_warned: enrollment_keys.spend_use(tx, "A", NOON, is_warned=warned)
        )
    await store.write(lambda tx: enrollment_keys.return_use(tx, "A", is_warned=True))

    assert await store.read(enrollment_keys.count_uses) == {"A": (2, 1)}


async def test_a_key_is_used_until_the_second_before_its_end(store):
    """At `expires_at` it is over; a key that is not there is not used."""
    await insert(store, key(expires_at=NOON))

    assert await spend(store, now=NOON - timedelta(seconds=1))
    assert not await spend(store, now=NOON)
    assert not await spend(store, "B")


async def test_a_rotation_ends_the_generation_before_at_the_grace(store):
    """The older one works until then, under its own ID; revoking the name takes both."""
    end = NOON + timedelta(hours=1)
    await insert(store, key())
    second = key("B", generation=2)
    await store.write(lambda tx: enrollment_keys.rotate_enrollment_key(tx, second, previous_expire_at=end))

    first, newest = await store.read(lambda conn: enrollment_keys.find_by_name(conn, "hosts"))
    assert (first.expires_at, newest) == (end, second)
    assert await spend(store, "A")
    assert not await spend(store, "A", now=end)
    await store.write(lambda tx: enrollment_keys.revoke_enrollment_key(tx, "hosts", NOON))
    assert not await spend(store, "A")
    assert not await spend(store, "B")


async def test_each_change_is_published(store, published):
    """Issuing, rotating and revoking reach the copies in memory; revoking twice publishes it twice and keeps the first date."""
    await insert(store, key())
    later = NOON + timedelta(days=1)
    for now in (NOON, later):
        await store.write(lambda tx, now=now: enrollment_keys.revoke_enrollment_key(tx, "hosts", now))

    assert [type(change) for change in published] == [EnrollmentKeyChanged] * 3
    assert [change.record.revoked_at for change in published] == [None, NOON, NOON]


async def test_a_key_from_before_there_were_modes_lets_in_at_once(store):
    """The row of such a key has no networks for approval, not even an empty list of them."""
    await insert(store, key())
    await store.write(
        lambda tx: tx.conn.execute(update(schema.enrollment_keys).values(approve_networks=null()))
    )

    found = await store.read(lambda conn: enrollment_keys.find_enrollment_key(conn, "A"))

    assert (found.mode, found.approve_networks) == (EnrollmentMode.AUTO, [])
