"""Operators' second factors and recovery codes."""

import asyncio
from datetime import timedelta

import pytest
from tests.builders import NOON

from lyftdata.core.records import OperatorRecord, Role, SecondFactorKind, SecondFactorRecord
from lyftdata.store.tables import operators, second_factors


def factor(factor_id, operator="ada", **fields):
    """Return a factor."""
    values = {
        "id": factor_id,
        "operator": operator,
        "kind": SecondFactorKind.TOTP,
        "sealed": b"sealed",
        "counter": 100,
        "created_at": NOON,
    }
    return SecondFactorRecord(**values | fields)


@pytest.fixture(autouse=True)
async def two_operators(store):
    """Add two operators."""
    for name in ("ada", "bob"):
        record = OperatorRecord(name=name, role=Role.ADMIN, password_hash="$argon2id$…", created_at=NOON)
        await store.write(lambda tx, record=record: operators.insert_operator(tx, record))


async def test_a_time_step_is_accepted_once(store):
    """Replay, at any Server: of two concurrent uses one is accepted, and none that is not later than the last one."""
    await store.write(lambda tx: second_factors.insert_factor(tx, factor("a")))

    def use(counter):
        return store.write(lambda tx: second_factors.use_factor(tx, "a", counter=counter, now=NOON))

    assert sorted(await asyncio.gather(use(101), use(101))) == [False, True]
    assert [await use(counter) for counter in (101, 100, 102)] == [False, False, True]
    [found] = await store.read(lambda conn: second_factors.factors_of(conn, "ada"))
    assert found == factor("a", counter=102, used_at=NOON)


async def test_a_recovery_code_is_accepted_once_and_for_its_operator(store):
    """Of two concurrent uses one is accepted; new codes replace the old ones."""
    one, two = b"1" * 32, b"2" * 32
    await store.write(lambda tx: second_factors.replace_recovery_codes(tx, "ada", [one, two]))

    def spend(operator, digest):
        return store.write(lambda tx: second_factors.spend_recovery_code(tx, operator, digest))

    assert not await spend("bob", one)
    assert sorted(await asyncio.gather(spend("ada", one), spend("ada", one))) == [False, True]
    assert await store.read(lambda conn: second_factors.count_recovery_codes(conn, "ada")) == 1
    await store.write(lambda tx: second_factors.replace_recovery_codes(tx, "ada", [one]))
    assert [await spend("ada", two), await spend("ada", one)] == [False, True]


async def test_factors_and_codes_are_deleted_with_their_operator(store):
    """Those of another operator stay; they can be deleted separately."""
    for record in (factor("b", "bob"), factor("a"), factor("c", created_at=NOON + timedelta(hours=1))):
        await store.write(lambda tx, record=record: second_factors.insert_factor(tx, record))
    await store.write(lambda tx: second_factors.replace_recovery_codes(tx, "ada", [b"1" * 32]))
    await store.write(lambda tx: second_factors.replace_sealed(tx, "b", b"again"))
    assert [f.id for f in await store.read(lambda conn: second_factors.factors_of(conn, "ada"))] == ["a", "c"]
    assert await store.read(second_factors.operators_with_factors) == {"ada", "bob"}

    await store.write(lambda tx: operators.delete_operator(tx, "ada"))

    assert await store.read(second_factors.all_factors) == [factor("b", "bob", sealed=b"again")]
    assert await store.read(lambda conn: second_factors.count_recovery_codes(conn, "ada")) == 0
    await store.write(lambda tx: second_factors.delete_factors_of(tx, "bob"))
    assert await store.read(second_factors.all_factors) == []
