"""Unfinished sign-ins by device code."""

from datetime import timedelta

import msgspec
from tests.builders import NOON

from lyftdata.core.device_login import LIFE, DeviceLoginRecord, DeviceLoginState
from lyftdata.store.tables import device_logins


def login(number, *, at=NOON):
    """Return a sign-in that was begun at a time."""
    return DeviceLoginRecord(
        device_digest=bytes([number] * 32),
        user_digest=f"user-{number}",
        state=DeviceLoginState.PENDING,
        address="192.0.2.1",
        host="laptop-7",
        user_agent="lyftdata-cli",
        created_at=at,
        expires_at=at + LIFE,
    )


async def add_logins(store, *records, at_most=10):
    """Add sign-ins; return for each whether it was added."""
    return [
        await store.write(lambda tx, record=record: device_logins.insert_login(tx, record, at_most=at_most))
        for record in records
    ]


async def test_a_sign_in_is_found_by_either_code_until_it_expires(store):
    """From that second on it is not found by the user code; replacing it replaces what is found."""
    await add_logins(store, login(1), login(2))
    changed = msgspec.structs.replace(
        login(1), state=DeviceLoginState.APPROVED, session_id="s", asked_at=NOON
    )
    await store.write(lambda tx: device_logins.replace_login(tx, changed))

    last = NOON + LIFE - timedelta(seconds=1)
    assert await store.read(lambda conn: device_logins.find_by_device(conn, bytes([1] * 32))) == changed
    assert await store.read(lambda conn: device_logins.find_by_user(conn, "user-1", now=last)) == changed
    assert await store.read(lambda conn: device_logins.find_by_user(conn, "user-1", now=NOON + LIFE)) is None
    await store.write(lambda tx: device_logins.delete_login(tx, bytes([1] * 32)))
    assert await store.read(lambda conn: device_logins.find_by_device(conn, bytes([1] * 32))) is None
    assert await store.read(lambda conn: device_logins.find_by_user(conn, "user-2", now=last)) == login(2)


async def test_the_number_of_sign_ins_is_limited(store):
    """Beyond the limit none is added until some have expired."""
    assert await add_logins(store, login(1), login(2), login(3), at_most=2) == [True, True, False]
    assert await add_logins(store, login(3, at=NOON + LIFE), at_most=2) == [True]
