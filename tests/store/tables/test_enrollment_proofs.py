"""Proofs of the enrollment key: each is used once."""

import asyncio
from datetime import timedelta

from tests.builders import NOON

from lyftdata.store.tables import (
    enrollment_proofs,
)


async def test_of_twenty_racing_to_use_a_proof_one_succeeds(store):
    """The record of its use is deleted when the proof has expired."""
    # In the past by the database's clock too.
    end = NOON - timedelta(days=3650)
    spend = [store.write(lambda tx: enrollment_proofs.spend_proofs(tx, [("j", end)])) for _ in range(20)]

    assert sum(map(len, await asyncio.gather(*spend))) == 1
    assert await store.write(lambda tx: enrollment_proofs.prune(tx, end - timedelta(seconds=1))) == 0
    assert await store.write(lambda tx: enrollment_proofs.prune(tx, end)) == 1
