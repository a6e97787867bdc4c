"""Used assertions: each is accepted once."""

import asyncio
from datetime import timedelta

from tests.builders import NOON

from lyftdata.store.tables import spent_assertions

# In the past by the database's clock too.
END = NOON - timedelta(days=3650)


async def spend(store, digest):
    """Use an assertion; return whether it was unused."""
    return digest in await store.write(lambda tx: spent_assertions.spend_all(tx, {digest: END}))


async def test_of_twenty_racing_to_use_an_assertion_one_succeeds(store):
    """A captured assertion is useless, even in a race with its Worker; other assertions are not affected."""
    assert sum(await asyncio.gather(*(spend(store, b"a" * 32) for _ in range(20)))) == 1
    assert await spend(store, b"b" * 32)


async def test_a_batch_returns_the_unused_assertions(store):
    """Each is checked as if it were alone."""
    await spend(store, b"a" * 32)
    batch = {bytes([letter]) * 32: END for letter in b"abc"}

    assert await store.write(lambda tx: spent_assertions.spend_all(tx, batch)) == {b"b" * 32, b"c" * 32}
    assert await store.write(lambda tx: spent_assertions.spend_all(tx, {})) == set()


async def test_an_assertion_is_remembered_until_it_expires(store):
    """An earlier clean-up does not allow a second use."""
    await spend(store, b"a" * 32)

    await store.write(lambda tx: spent_assertions.prune(tx, END - timedelta(seconds=1)))
    assert not await spend(store, b"a" * 32)
    await store.write(lambda tx: spent_assertions.prune(tx, END))
    assert await spend(store, b"a" * 32)
