"""Proofs of the enrollment key, each used once."""

import asyncio
from datetime import timedelta

from tests.builders import NOON

from lyftdata.store.tables import (
    enrollment_proofs,
)


async def test_of_twenty_that_spend_a_proof_one_does(store):
    """A proof is used up once, even in a race; its memory ends with it."""
    # Over by the database's clock as well, whatever day it is.
    end = NOON - timedelta(days=3650)
    spend = [store.write(lambda tx: enrollment_proofs.spend_proofs(tx, [("j", end)])) for _ in range(20)]

    assert sum(map(len, await asyncio.gather(*spend))) == 1
    assert await store.write(lambda tx: enrollment_proofs.prune(tx, end - timedelta(seconds=1))) == 0
    assert await store.write(lambda tx: enrollment_proofs.prune(tx, end)) == 1
