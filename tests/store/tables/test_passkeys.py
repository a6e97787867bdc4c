"""Operators' passkeys."""

import asyncio

import pytest
from tests.builders import NOON

from lyftdata.core.records import OperatorRecord, PasskeyRecord, Role
from lyftdata.store.tables import operators, passkeys, second_factors


def passkey(passkey_id, operator="ada", **fields):
    """Return a passkey."""
    values = {
        "id": passkey_id,
        "operator": operator,
        "name": f"key {passkey_id}",
        "credential_id": passkey_id.encode(),
        "user_handle": b"handle",
        "public_key": b"public",
        "sign_count": 0,
        "created_at": NOON,
    }
    return PasskeyRecord(**values | fields)


@pytest.fixture(autouse=True)
async def two_operators(store):
    """Add two operators."""
    for name in ("ada", "bob"):
        record = OperatorRecord(name=name, role=Role.ADMIN, password_hash="$argon2id$…", created_at=NOON)
        await store.write(lambda tx, record=record: operators.insert_operator(tx, record))


def add(store, record):
    """Add a passkey; return whether it was added."""
    return store.write(lambda tx: passkeys.insert_passkey(tx, record))


async def test_a_credential_id_belongs_to_one_passkey(store):
    """Of two concurrent ones, of any operators, one is stored; the names of an operator's passkeys are unique."""
    both = await asyncio.gather(
        add(store, passkey("a", credential_id=b"same")),
        add(store, passkey("b", "bob", credential_id=b"same")),
    )

    assert sorted(both) == [False, True]
    assert await add(store, passkey("c", name="desk"))
    assert not await add(store, passkey("d", name="desk"))
    assert await add(store, passkey("e", "bob", name="desk"))


@pytest.mark.parametrize(
    ("stored", "sent", "is_accepted"),
    [(0, 0, True), (0, 1, True), (5, 6, True), (5, 5, False), (5, 4, False), (5, 0, False)],
)
async def test_a_counter_only_increases(store, stored, sent, is_accepted):
    """An authenticator that never counts stays at 0 and is accepted; one that has counted must send a higher number."""
    await add(store, passkey("a", sign_count=stored))

    used = await store.write(lambda tx: passkeys.use_passkey(tx, "a", sign_count=sent, now=NOON))

    assert used is is_accepted
    [found] = await store.read(lambda conn: passkeys.passkeys_of(conn, "ada"))
    assert found == passkey(
        "a", sign_count=sent if is_accepted else stored, used_at=NOON if is_accepted else None
    )


async def test_of_two_uses_with_one_counter_one_is_accepted(store):
    """Perhaps at two Servers."""
    await add(store, passkey("a", sign_count=1))

    def use():
        return store.write(lambda tx: passkeys.use_passkey(tx, "a", sign_count=2, now=NOON))

    assert sorted(await asyncio.gather(use(), use())) == [False, True]


async def test_a_credential_is_found_only_for_its_operator(store):
    """For another operator it does not exist."""
    await add(store, passkey("a"))

    def find(operator):
        return store.read(lambda conn: passkeys.find_by_credential(conn, operator, b"a"))

    assert await find("ada") == passkey("a")
    assert await find("bob") is None


async def test_a_passkey_is_a_second_factor_and_is_deleted_with_its_operator(store):
    """Another's stays, and an ID of another operator's passkey removes nothing."""
    for record in (passkey("a"), passkey("c"), passkey("b", "bob")):
        await add(store, record)
    assert await store.read(second_factors.operators_with_factors) == {"ada", "bob"}
    await store.write(lambda tx: passkeys.delete_passkey(tx, "bob", "a"))
    await store.write(lambda tx: passkeys.delete_passkey(tx, "ada", "c"))
    assert [p.id for p in await store.read(lambda conn: passkeys.passkeys_of(conn, "ada"))] == ["a"]

    await store.write(lambda tx: operators.delete_operator(tx, "ada"))
    await store.write(lambda tx: passkeys.delete_passkeys_of(tx, "bob"))

    for name in ("ada", "bob"):
        assert not await store.read(lambda conn, name=name: second_factors.has_factor(conn, name))
