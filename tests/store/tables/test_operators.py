"""Operators and their sessions."""

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


async def test_operators_and_their_sessions(store):
    """Sessions are found by their token's digest with the operator as they are now, and go with them."""
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
