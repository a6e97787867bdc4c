"""API tokens: names that are given once, and what ends a token."""

from datetime import timedelta

import pytest
from tests.builders import NOON
from tests.store.conftest import count_successes

from lyftdata.core.errors import ConflictError
from lyftdata.core.records import ApiTokenRecord, OperatorRecord, Role
from lyftdata.store.tables import api_tokens, operators


def token(name="ci-deploy", **fields):
    """Return a token of an operator."""
    values = {
        "public_id": name[-10:],
        "name": name,
        "digest": b"d" * 32,
        "role": Role.VIEWER,
        "operator": "ada",
        "created_at": NOON,
        "expires_at": NOON + timedelta(days=90),
    }
    return ApiTokenRecord(**values | fields)


async def insert(store, *records):
    """Store tokens."""
    for record in records:
        await store.write(lambda tx, record=record: api_tokens.insert_api_token(tx, record))


@pytest.fixture
async def ada(store):
    """Add an operator."""
    record = OperatorRecord(name="ada", role=Role.ADMIN, password_hash="$argon2id$…", created_at=NOON)
    await store.write(lambda tx: operators.insert_operator(tx, record))
    return record


async def live(store, *public_ids, now=NOON):
    """Return which of these tokens are valid."""
    return await store.read(lambda conn: api_tokens.live_among(conn, public_ids, now=now))


async def test_a_token_is_stored_and_found_with_its_operator(store, ada):
    """Every field is read back."""
    record = token(last_used_at=NOON, last_used_from="192.0.2.7", revoked_at=NOON)
    await insert(store, record)

    assert await store.read(lambda conn: api_tokens.find_api_token(conn, "ci-deploy")) == record
    assert await store.read(api_tokens.all_api_tokens) == [record]
    found = await store.read(lambda conn: api_tokens.find_with_operator(conn, record.public_id))
    assert found == (record, ada)
    assert await store.read(lambda conn: api_tokens.find_with_operator(conn, "nope")) == (None, None)


async def test_of_ten_racing_for_a_name_one_wins(store):
    """A name is never given again, even after the token was revoked."""
    assert await count_successes(insert(store, token(public_id=f"T{n}")) for n in range(10)) == 1

    await store.write(lambda tx: api_tokens.revoke_api_token(tx, "ci-deploy", NOON))
    with pytest.raises(ConflictError) as conflict:
        await insert(store, token(public_id="T11"))
    assert conflict.value.code == "api_token_name_taken"


async def test_the_tokens_of_one_operator_are_revoked_together(store, ada):
    """Tokens of other operators stay; the names of those that were valid until then are returned."""
    await insert(store, token("a-token"), token("b-token"), token("c-token", operator="bob"))
    await store.write(lambda tx: api_tokens.revoke_api_token(tx, "a-token", NOON))
    later = NOON + timedelta(hours=1)

    names = await store.write(lambda tx: api_tokens.revoke_api_tokens_of(tx, "ada", later))

    assert names == ["b-token"]
    records = await store.read(api_tokens.all_api_tokens)
    assert [record.revoked_at for record in records] == [NOON, later, None]


@pytest.mark.parametrize(
    ("fields", "is_live"),
    [
        ({}, True),
        ({"revoked_at": NOON}, False),
        ({"expires_at": NOON}, False),
        ({"expires_at": NOON + timedelta(seconds=1)}, True),
        ({"operator": "bob"}, False),
        ({"created_at": NOON - timedelta(seconds=1)}, False),
    ],
    ids=["live", "revoked", "expired", "one second left", "operator gone", "of an operator of the same name"],
)
async def test_only_valid_tokens_are_live(store, ada, fields, is_live):
    """By the same rules as `verify_api_token`."""
    await insert(store, token(**fields))

    assert bool(await live(store, "ci-deploy")) is is_live


async def test_an_earlier_use_does_not_replace_a_later_one(store):
    """A Server that writes late does not overwrite what another has written."""
    await insert(store, token())
    later = NOON + timedelta(minutes=1)
    for at, address in ((NOON, "192.0.2.1"), (later, "192.0.2.2"), (NOON, "192.0.2.3")):
        await store.write(
            lambda tx, at=at, address=address: api_tokens.touch_last_used(tx, {"ci-deploy": (at, address)})
        )

    record = await store.read(lambda conn: api_tokens.find_api_token(conn, "ci-deploy"))
    assert (record.last_used_at, record.last_used_from) == (later, "192.0.2.2")
