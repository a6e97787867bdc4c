"""Operators' sessions."""

from datetime import timedelta

import pytest
from tests.builders import NOON

from lyftdata.core.records import AdminSessionRecord, OperatorRecord, Role
from lyftdata.store.tables import admin_sessions, operators


def session(number, **fields):
    """Return a session that began so many minutes after noon."""
    values = {
        "id": f"s{number}",
        "operator": "ada",
        "digest": number.to_bytes(32, "big"),
        "created_at": NOON + timedelta(minutes=number),
        "expires_at": NOON + timedelta(hours=12),
        "address": "192.0.2.1",
    }
    return AdminSessionRecord(**values | fields)


@pytest.fixture
async def add(store):
    """Return a function that stores sessions of two existing operators."""
    for name in ("ada", "bob"):
        record = OperatorRecord(name=name, role=Role.ADMIN, password_hash="$argon2id$…", created_at=NOON)
        await store.write(lambda tx, record=record: operators.insert_operator(tx, record))

    async def add(*records):
        for record in records:
            await store.write(lambda tx, record=record: admin_sessions.insert_session(tx, record))

    return add


async def ids(store, operator=None):
    """Return the IDs of an operator's sessions."""
    found = await store.read(lambda conn: admin_sessions.list_sessions(conn, operator=operator))
    return [record.id for record in found]


async def test_sessions_are_listed_latest_first(store, add):
    """Those of one operator, or of all."""
    await add(session(1), session(2), session(3, operator="bob"))

    assert await ids(store, "ada") == ["s2", "s1"]
    assert await ids(store) == ["s3", "s2", "s1"]


async def test_an_operator_has_at_most_fifty_sessions(store, add):
    """One more ends the oldest of that operator, and none of another."""
    await add(session(0, operator="bob"), *(session(n) for n in range(1, admin_sessions.MAX_OF_ONE + 2)))

    assert len(await ids(store, "ada")) == admin_sessions.MAX_OF_ONE
    assert "s1" not in await ids(store, "ada")
    assert await ids(store, "bob") == ["s0"]


async def test_all_sessions_of_an_operator_except_one_can_be_ended(store, add):
    """A password change ends the others, but not those of another operator."""
    await add(session(1), session(2), session(3, operator="bob"))

    await store.write(lambda tx: admin_sessions.delete_sessions_of(tx, "ada", besides="s2"))
    assert await ids(store) == ["s3", "s2"]
    await store.write(lambda tx: admin_sessions.delete_sessions_of(tx, "ada"))
    assert await ids(store) == ["s3"]


async def test_a_session_ends_when_it_expires(store, add):
    """It is open until the second before `expires_at`; from then on, the clean-up removes it."""
    await add(session(1), session(2, expires_at=NOON))

    for now, expected in ((NOON - timedelta(seconds=1), {"s1", "s2"}), (NOON, {"s1"})):
        found = await store.read(
            lambda conn, now=now: admin_sessions.open_among(
                conn, ["s1", "s2", "s9"], now=now, used_after=NOON - timedelta(hours=1)
            )
        )
        assert found == expected
        await store.write(lambda tx, now=now: admin_sessions.delete_ended(tx, now))
        assert set(await ids(store)) == expected


async def test_a_session_stays_open_while_it_is_used(store, add):
    """Its last use counts, or else its start; an earlier use than the stored one changes nothing."""
    await add(session(1), session(2), session(3))
    late, early = NOON + timedelta(minutes=30), NOON + timedelta(minutes=20)
    await store.write(lambda tx: admin_sessions.touch_used(tx, {"s1": late, "s9": late}))
    await store.write(lambda tx: admin_sessions.touch_used(tx, {"s1": early}))

    for used_after, expected in ((NOON + timedelta(minutes=2), {"s1", "s3"}), (early, {"s1"}), (late, set())):
        found = await store.read(
            lambda conn, used_after=used_after: admin_sessions.open_among(
                conn, ["s1", "s2", "s3"], now=NOON, used_after=used_after
            )
        )
        assert found == expected


async def test_a_renewed_session_has_a_new_token(store, add):
    """The previous token is not found any more; the session stays the same."""
    await add(session(1), session(2))
    later = NOON + timedelta(minutes=30)
    await store.write(
        lambda tx: admin_sessions.renew_session(tx, "s1", digest=b"n" * 32, authenticated_at=later)
    )

    found = await store.read(lambda conn: admin_sessions.find_session(conn, "s1"))
    assert found == session(1, digest=b"n" * 32, authenticated_at=later, used_at=later)
    assert await store.read(lambda conn: admin_sessions.find_with_operator(conn, session(1).digest)) is None
    assert await store.read(lambda conn: admin_sessions.find_session(conn, "s2")) == session(2)


async def test_a_session_can_be_ended_by_its_id(store, add):
    """The others stay."""
    await add(session(1), session(2))
    await store.write(lambda tx: admin_sessions.delete_session(tx, "s1"))

    assert await store.read(lambda conn: admin_sessions.find_session(conn, "s1")) is None
    assert await store.read(lambda conn: admin_sessions.find_session(conn, "s2")) == session(2)


async def test_an_issuer_session_ends_the_sessions_that_it_opened(store, add):
    """Only those, and only of operators of that issuer."""
    ann = OperatorRecord(
        name="ann", role=Role.VIEWER, password_hash="", created_at=NOON, issuer="https://id", subject="1"
    )
    await store.write(lambda tx: operators.insert_operator(tx, ann))
    await add(
        session(1, operator="ann", issuer_session="one"),
        session(2, operator="ann", issuer_session="two"),
        session(3, issuer_session="one"),
    )

    def opened_by(issuer):
        return store.read(
            lambda conn: admin_sessions.operators_of_issuer_session(conn, issuer=issuer, issuer_session="one")
        )

    assert [await opened_by("https://id"), await opened_by("https://other")] == [["ann"], []]
    await store.write(lambda tx: admin_sessions.delete_of_issuer_session(tx, ["ann"], "one"))
    assert await ids(store) == ["s3", "s2"]
