"""Enrollment keys issued by operators: generations, and uses that are counted exactly."""

import asyncio
from datetime import timedelta

import pytest
from sqlalchemy import null, update
from tests.builders import NOON
from tests.store.conftest import count_successes

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


async def test_a_key_and_its_rules_are_stored(store):
    """Every field is read back."""
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


async def test_of_ten_racing_for_a_name_one_wins(store):
    """The name of a key is never given again, even after the key was revoked."""
    assert await count_successes(insert(store, key(f"K{n}")) for n in range(10)) == 1

    await store.write(lambda tx: enrollment_keys.revoke_enrollment_key(tx, "hosts", NOON))
    with pytest.raises(ConflictError) as refused:
        await insert(store, key("OTHER"))
    assert refused.value.code == "enrollment_key_name_taken"


async def test_a_key_for_three_hosts_is_used_three_times(store):
    """Also if ten race for it; a returned use can be used again."""
    await insert(store, key(max_uses=3))

    assert sum(await asyncio.gather(*(spend(store) for _ in range(10)))) == 3
    assert await store.read(enrollment_keys.count_uses) == {"A": (3, 0)}
    await store.write(lambda tx: enrollment_keys.return_use(tx, "A"))
    assert [await spend(store), await spend(store)] == [True, False]


async def test_uses_against_the_rules_are_counted_separately(store):
    """A returned use counts neither as a use nor as a warning."""
    await insert(store, key())

    for is_warned in (True, False, True):
        await store.write(
            lambda tx, warned=is_warned: enrollment_keys.spend_use(tx, "A", NOON, is_warned=warned)
        )
    await store.write(lambda tx: enrollment_keys.return_use(tx, "A", is_warned=True))

    assert await store.read(enrollment_keys.count_uses) == {"A": (2, 1)}


async def test_a_key_can_be_used_until_it_expires(store):
    """Until the second before `expires_at`; an unknown key cannot be used."""
    await insert(store, key(expires_at=NOON))

    assert await spend(store, now=NOON - timedelta(seconds=1))
    assert not await spend(store, now=NOON)
    assert not await spend(store, "B")


async def test_rotation_expires_the_old_generation_after_the_grace_period(store):
    """It works until then, with its own ID; revoking the name revokes both."""
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
    """Issuing and revoking update the copies in memory; a second revocation is published too, with the first date."""
    await insert(store, key())
    later = NOON + timedelta(days=1)
    for now in (NOON, later):
        await store.write(lambda tx, now=now: enrollment_keys.revoke_enrollment_key(tx, "hosts", now))

    assert [type(change) for change in published] == [EnrollmentKeyChanged] * 3
    assert [change.record.revoked_at for change in published] == [None, NOON, NOON]


async def test_a_key_from_before_there_were_modes_enrolls_at_once(store):
    """Its row has no approval networks, not even an empty list."""
    await insert(store, key())
    await store.write(
        lambda tx: tx.conn.execute(update(schema.enrollment_keys).values(approve_networks=null()))
    )

    found = await store.read(lambda conn: enrollment_keys.find_enrollment_key(conn, "A"))

    assert (found.mode, found.approve_networks) == (EnrollmentMode.AUTO, [])
