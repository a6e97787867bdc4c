"""Networks from which operators have signed in."""

from datetime import timedelta

import pytest
from tests.builders import NOON

from lyftdata.core.records import OperatorRecord, Role
from lyftdata.store.tables import known_networks, operators
from lyftdata.store.tables.known_networks import KNOWN_FOR, MAX_PER_OPERATOR


@pytest.fixture(autouse=True)
async def _operators(store):
    for name in ("ada", "bob"):
        record = OperatorRecord(name=name, role=Role.ADMIN, password_hash="$argon2id$…", created_at=NOON)
        await store.write(lambda tx, record=record: operators.insert_operator(tx, record))


async def remember(store, number=1, *, operator="ada", now=NOON):
    """Record a sign-in from a network."""
    digest = number.to_bytes(32, "big")
    await store.write(lambda tx: known_networks.remember_network(tx, operator, digest, now=now))


async def is_known(store, number=1, *, operator="ada", now=NOON):
    """Return whether a network is known."""
    digest = number.to_bytes(32, "big")
    return await store.read(lambda conn: known_networks.is_known_network(conn, operator, digest, now=now))


async def test_a_network_is_known_only_for_the_operator_who_signed_in(store):
    """No other network is known."""
    await remember(store)

    assert await is_known(store)
    assert not await is_known(store, 2)
    assert not await is_known(store, operator="bob")


async def test_a_network_is_known_for_ninety_days_after_the_last_sign_in(store):
    """Another sign-in restarts the time."""
    await remember(store)
    await remember(store, now=NOON + timedelta(days=1))
    end = NOON + timedelta(days=1) + KNOWN_FOR

    assert await is_known(store, now=end - timedelta(seconds=1))
    assert not await is_known(store, now=end)


async def test_an_operator_has_at_most_a_hundred_networks(store):
    """One more drops the least recently used, and none of another operator's."""
    await remember(store, operator="bob")
    for n in range(MAX_PER_OPERATOR + 1):
        await remember(store, n, now=NOON + timedelta(seconds=n))

    assert not await is_known(store, 0)
    assert await is_known(store, 1)
    assert await is_known(store, MAX_PER_OPERATOR)
    assert await is_known(store, operator="bob")


async def test_a_sign_in_of_any_operator_is_known(store):
    """From any network."""
    assert not await store.read(known_networks.has_any)
    await remember(store, operator="bob")
    assert await store.read(known_networks.has_any)
