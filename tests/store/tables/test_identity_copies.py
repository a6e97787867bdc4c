"""Directories that were refused as copies of a Worker's identity."""

from datetime import timedelta

import pytest
from tests.builders import NOON, worker

from lyftdata.core.errors import NotFoundError
from lyftdata.core.records import CopyDecision, IdentityCopyRecord
from lyftdata.store.tables import identity_copies, workers

MINUTE = timedelta(minutes=1)


def copy_at(minute, reference, **fields):
    """Return a copy that was found at a minute after noon."""
    given = {
        "reference": reference,
        "worker_id": "w-1",
        "found_at": NOON + minute * MINUTE,
        "last_at": NOON + minute * MINUTE,
        "host": "copy",
        "address": "203.0.113.9",
        "other_host": "press-01",
        "other_address": "192.0.2.1",
    }
    return IdentityCopyRecord(**(given | fields))


@pytest.fixture
async def record(store):
    """Return a function that records a copy."""
    for worker_id in ("w-1", "w-2"):
        entry = worker(worker_id)
        await store.write(lambda tx, entry=entry: workers.insert_worker(tx, entry, unique_name=True))

    async def record_copy(copy):
        await store.write(lambda tx: identity_copies.record_copy(tx, copy))

    return record_copy


async def copies(store, worker_id="w-1"):
    """Return the references of a Worker's copies, latest first."""
    found = await store.read(lambda conn: identity_copies.list_copies(conn, [worker_id]))
    return [copy.reference for copy in found.get(worker_id, [])]


async def test_a_host_that_lost_its_reference_is_listed_once(store, record):
    """The time of its first refusal stays; an earlier decision stays with its own reference."""
    await record(copy_at(0, "AAAA"))
    await record(copy_at(5, "BBBB"))
    [found] = (await store.read(lambda conn: identity_copies.list_copies(conn, ["w-1"])))["w-1"]
    assert (found.reference, found.found_at, found.last_at) == ("BBBB", NOON, NOON + 5 * MINUTE)

    await store.write(
        lambda tx: identity_copies.decide_copy(
            tx, found, decision=CopyDecision.CONTINUE, at=NOON, by="operator:admin"
        )
    )
    await record(copy_at(9, "CCCC"))

    assert await copies(store) == ["CCCC", "BBBB"]
    decided = await store.read(lambda conn: identity_copies.get_copy(conn, "w-1", "BBBB"))
    assert (decided.decision, decided.decided_by) == (CopyDecision.CONTINUE, "operator:admin")
    undecided = await store.read(lambda conn: identity_copies.list_undecided(conn, limit=5))
    assert [copy.reference for copy in undecided] == ["CCCC"]


async def test_the_last_few_copies_of_a_worker_are_kept(store, record):
    """However many hosts there are; those of other Workers are not affected, and are deleted with their Worker."""
    await record(copy_at(0, "OTHER", worker_id="w-2"))
    for number in range(identity_copies.KEPT_OF_A_WORKER + 3):
        await record(copy_at(number, f"R{number}", host=f"host-{number}"))

    assert len(await copies(store)) == identity_copies.KEPT_OF_A_WORKER
    assert (await copies(store))[0] == f"R{identity_copies.KEPT_OF_A_WORKER + 2}"
    assert await copies(store, "w-2") == ["OTHER"]
    await store.write(lambda tx: workers.delete_worker(tx, "w-2"))
    assert await copies(store, "w-2") == []


async def test_a_reference_belongs_to_one_worker(store, record):
    """A copy of one Worker that sends the reference of another's changes nothing there."""
    await record(copy_at(0, "SAME"))
    await record(copy_at(1, "SAME", worker_id="w-2", host="elsewhere"))
    await store.write(lambda tx: identity_copies.touch_copy(tx, "w-2", "SAME", at=NOON + 7 * MINUTE))

    kept = await store.read(lambda conn: identity_copies.find_copy(conn, "w-1", "SAME"))
    assert kept == copy_at(0, "SAME")
    touched = await store.read(lambda conn: identity_copies.get_copy(conn, "w-2", "SAME"))
    assert touched.last_at == NOON + 7 * MINUTE
    with pytest.raises(NotFoundError):
        await store.read(lambda conn: identity_copies.get_copy(conn, "w-1", "GONE"))
