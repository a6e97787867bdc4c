"""Assertions that were used: each is accepted once."""

import asyncio
from datetime import timedelta

from tests.builders import NOON

from lyftdata.store.tables import spent_assertions

# Past by the database's clock as well, whatever day it is.
END = NOON - timedelta(days=3650)


async def spend(store, digest):
    """Use an assertion; return whether it was unused."""
    return digest in await store.write(lambda tx: spent_assertions.spend_all(tx, {digest: END}))


async def test_of_twenty_that_use_an_assertion_one_may(store):
    """A captured assertion is worth nothing, even in a race with its Worker; another assertion is not affected."""
    assert sum(await asyncio.gather(*(spend(store, b"a" * 32) for _ in range(20)))) == 1
    assert await spend(store, b"b" * 32)


async def test_of_several_at_once_those_that_were_used_are_left_out(store):
    """Each of a batch is judged as if it were alone."""
    await spend(store, b"a" * 32)
    batch = {bytes([letter]) * 32: END for letter in b"abc"}

    assert await store.write(lambda tx: spent_assertions.spend_all(tx, batch)) == {b"b" * 32, b"c" * 32}
    assert await store.write(lambda tx: spent_assertions.spend_all(tx, {})) == set()


async def test_an_assertion_is_remembered_until_its_end(store):
    """Cleaning up before that does not let it be used a second time."""
    await spend(store, b"a" * 32)

    await store.write(lambda tx: spent_assertions.prune(tx, END - timedelta(seconds=1)))
    assert not await spend(store, b"a" * 32)
    await store.write(lambda tx: spent_assertions.prune(tx, END))
    assert await spend(store, b"a" * 32)
