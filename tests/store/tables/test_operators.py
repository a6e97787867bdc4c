"""Operators and their sessions."""

from datetime import timedelta

import msgspec
import pytest
from tests.builders import NOON

from lyftdata.core.errors import ConflictError
from lyftdata.core.records import (
    AdminSessionRecord,
    OperatorRecord,
    Role,
)
from lyftdata.store.tables import (
    admin_sessions,
    operators,
)


async def test_an_operators_sessions_are_deleted_with_the_operator(store):
    """A session is found by its token's digest, with the current state of the operator."""
    ada = OperatorRecord(name="ada", role=Role.VIEWER, password_hash="$argon2id$…", created_at=NOON)
    session = AdminSessionRecord(
        id="s1", operator="ada", digest=b"d" * 32, created_at=NOON, expires_at=NOON, address="192.0.2.1"
    )
    await store.write(lambda tx: operators.insert_operator(tx, ada))
    with pytest.raises(ConflictError):
        await store.write(lambda tx: operators.insert_operator(tx, ada))
    await store.write(lambda tx: admin_sessions.insert_session(tx, session))
    admin = msgspec.structs.replace(ada, role=Role.ADMIN)
    await store.write(lambda tx: operators.replace_operator(tx, admin))

    assert await store.read(lambda conn: admin_sessions.find_with_operator(conn, b"d" * 32)) == (
        session,
        admin,
    )
    await store.write(lambda tx: operators.delete_operator(tx, "ada"))
    assert await store.read(lambda conn: admin_sessions.find_with_operator(conn, b"d" * 32)) is None


async def test_an_operator_of_an_issuer_is_found_by_its_subject_there(store):
    """By issuer and subject together; both are unique as a pair, and many operators have none."""
    ann = OperatorRecord(
        name="ann", role=Role.VIEWER, password_hash="", created_at=NOON, issuer="https://id", subject="1"
    )
    local = [OperatorRecord(name=name, role=Role.ADMIN, password_hash="x", created_at=NOON) for name in "ab"]
    for record in (ann, *local):
        await store.write(lambda tx, record=record: operators.insert_operator(tx, record))
    twin = msgspec.structs.replace(ann, name="ann-2")
    with pytest.raises(ConflictError):
        await store.write(lambda tx: operators.insert_operator(tx, twin))

    def found(issuer, subject):
        return store.read(lambda conn: operators.find_by_identity(conn, issuer=issuer, subject=subject))

    assert await found("https://id", "1") == ann
    assert [await found("https://id/", "1"), await found("https://id", "2")] == [None, None]


@pytest.mark.parametrize(("ends_in_s", "has_one"), [(1, True), (0, False), (None, False)])
async def test_an_emergency_password_counts_until_it_expires(store, ends_in_s, has_one):
    """Whether there is one is looked up before any password is checked."""
    ends_at = None if ends_in_s is None else NOON + timedelta(seconds=ends_in_s)
    ada = OperatorRecord(
        name="ada", role=Role.ADMIN, password_hash="x", created_at=NOON, password_expires_at=ends_at
    )
    await store.write(lambda tx: operators.insert_operator(tx, ada))
    assert await store.read(lambda conn: operators.has_emergency_password(conn, now=NOON)) is has_one
