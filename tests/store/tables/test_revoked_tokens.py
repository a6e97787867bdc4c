"""Worker tokens that were revoked before they expired."""

from datetime import timedelta

from tests.builders import NOON

from lyftdata.store.changes import TokenRevoked
from lyftdata.store.tables import revoked_tokens

# In the past by the database's clock too.
LONG_AGO = NOON - timedelta(days=3650)


async def revoke(store, jti, expires_at=NOON):
    """Revoke a token."""
    await store.write(lambda tx: revoked_tokens.revoke_token(tx, jti, expires_at=expires_at))


async def test_a_token_can_be_revoked_twice(store, published):
    """It is stored once, and published each time."""
    await revoke(store, "t1")
    await revoke(store, "t1")

    assert await store.read(lambda conn: revoked_tokens.find_revoked(conn, ["t1", "t2"])) == {"t1": NOON}
    assert published == [TokenRevoked("t1", NOON)] * 2


async def test_a_revoked_token_is_listed_until_it_expires(store):
    """From `expires_at` on it is refused as expired."""
    await revoke(store, "t1")

    for now, expected in ((NOON - timedelta(seconds=1), {"t1": NOON}), (NOON, {})):
        assert await store.read(lambda conn, now=now: revoked_tokens.list_unexpired(conn, now)) == expected


async def test_revoked_tokens_are_stored_until_they_expire(store):
    """The clean-up removes only expired ones."""
    await revoke(store, "ended", LONG_AGO)
    await revoke(store, "valid", LONG_AGO + timedelta(seconds=1))

    await store.write(lambda tx: revoked_tokens.prune(tx, LONG_AGO))

    assert set(await store.read(lambda conn: revoked_tokens.find_revoked(conn, ["ended", "valid"]))) == {
        "valid"
    }
