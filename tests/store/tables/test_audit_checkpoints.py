"""Signed checkpoints, as they are stored and found."""

import pytest
from tests.builders import NOON
from tests.store.conftest import AUDIT_KEY, ON_SQLITE

from lyftdata.core.audit_checkpoints import CheckpointKey, join_peaks
from lyftdata.core.merkle_tree import CompactRange, leaf_hash
from lyftdata.core.records import CheckpointRecord
from lyftdata.store.tables import audit_checkpoints

pytestmark = ON_SQLITE
SIZES = (3, 5, 9)


def record_of(size, *, key=AUDIT_KEY, text="event"):
    """Return a checkpoint of so many events."""
    tree = CompactRange()
    for number in range(size):
        tree.append(leaf_hash(f"{text} {number}".encode()))
    note = CheckpointKey(key, issuer="https://lyft.example").sign(tree)
    return CheckpointRecord(size=size, at=NOON, peaks=join_peaks(tree), note=note)


async def add(store, record):
    """Store a checkpoint; return the stored one."""
    return await store.write(lambda tx: audit_checkpoints.add_checkpoint(tx, record))


@pytest.fixture
async def stored(store):
    """Return a store with a few checkpoints."""
    for size in SIZES:
        await add(store, record_of(size))
    return store


async def test_the_first_checkpoint_of_a_size_stays(stored):
    """A second one for as many events is not stored, and its caller gets the stored one."""
    kept_record = await add(stored, record_of(5, text="other"))

    assert kept_record.root == (await add(stored, record_of(5))).root
    found = await stored.read(lambda conn: list(audit_checkpoints.all_checkpoints(conn)))
    assert found == [record_of(size) for size in SIZES]


@pytest.mark.parametrize(("size", "found"), [(2, 0), (3, 3), (8, 5), (99, 9)])
async def test_the_last_tree_is_that_of_the_largest_checkpoint_that_fits(stored, size, found):
    """The tree is empty if there is no checkpoint."""
    tree = await stored.read(lambda conn: audit_checkpoints.last_tree(conn, audit_key=AUDIT_KEY, size=size))

    assert tree.size == found


@pytest.mark.parametrize(("number", "size"), [(1, 3), (3, 3), (4, 5), (9, 9), (10, None)])
async def test_the_first_checkpoint_that_covers_an_event_is_found(stored, number, size):
    """There is none for an event after the last checkpoint."""
    found = await stored.read(
        lambda conn: audit_checkpoints.first_covering(conn, number, audit_key=AUDIT_KEY)
    )

    assert (None if found is None else found.size) == size


async def test_a_checkpoint_signed_by_another_key_is_skipped(store):
    """Neither a tree nor a proof begins with it."""
    await add(store, record_of(3))
    await add(store, record_of(5, key=b"o" * 32))
    await add(store, record_of(9))
    tree = await store.read(lambda conn: audit_checkpoints.last_tree(conn, audit_key=AUDIT_KEY, size=8))
    covering = await store.read(lambda conn: audit_checkpoints.first_covering(conn, 4, audit_key=AUDIT_KEY))

    assert (tree.size, covering.size) == (3, 9)


async def test_checkpoints_before_a_removal_are_removed(stored):
    """The checkpoint at the removal stays: the log continues from it."""
    await stored.write(lambda tx: audit_checkpoints.remove_before(tx, 5))
    left = await stored.read(lambda conn: list(audit_checkpoints.all_checkpoints(conn)))
    between = await stored.read(lambda conn: audit_checkpoints.last_in(conn, after=5, up_to=8))

    assert [record.size for record in left] == [5, 9]
    assert between is None
