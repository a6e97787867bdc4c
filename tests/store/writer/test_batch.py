"""Operations that are written together give the same result as one by one."""

import asyncio
import threading

import pytest
from sqlalchemy.exc import StatementError
from tests.builders import NOON, event, worker

from lyftdata.core.errors import ConflictError
from lyftdata.store import audit_log
from lyftdata.store.changes import WorkerChanged
from lyftdata.store.tables import workers


def add_all(tx, records):
    """Add Workers together, with an event for each; return their IDs."""
    workers.insert_fresh(tx, records)
    for record in records:
        tx.audit(event(subject=f"worker:{record.id}"))
    return [record.id for record in records]


async def in_one_batch(store, *operations):
    """Let the writer find all of these operations at once; return the result of each."""
    go_on = threading.Event()
    held = asyncio.ensure_future(store.write(lambda _tx: go_on.wait(180)))
    asking = [asyncio.ensure_future(operation()) for operation in operations]
    await asyncio.sleep(0)
    go_on.set()
    await held
    return await asyncio.gather(*asking, return_exceptions=True)


async def subjects(store):
    """Return the subjects of the audit log, in order."""
    found = await store.read(lambda conn: audit_log.events_after(conn, after=0, limit=100))
    return [one.event.subject for one in found]


async def test_consecutive_calls_of_one_operation_run_together(store, published):
    """The operation is called once with all queued items; each caller gets its own result, and every change is published."""
    sizes = []

    def op(tx, records):
        sizes.append(len(records))
        return add_all(tx, records)

    names = [f"w-{n}" for n in range(5)]
    outcomes = await in_one_batch(
        store, *(lambda name=name: store.write_batched(op, worker(name)) for name in names)
    )

    assert (outcomes, sizes) == (names, [5])
    assert published == [WorkerChanged(name, worker(name)) for name in names]
    assert await subjects(store) == [f"worker:{name}" for name in names]
    assert (await store.verify_audit()).ok


async def test_the_order_of_queued_operations_is_kept(store):
    """An operation between two that could be batched runs between them."""
    order = []

    def op(_tx, items):
        order.extend(items)
        return items

    await in_one_batch(
        store,
        lambda: store.write_batched(op, "first"),
        lambda: store.write(lambda _tx: order.append("second")),
        lambda: store.write_batched(op, "third"),
    )

    assert order == ["first", "second", "third"]


async def test_one_failing_item_does_not_affect_its_batch(store, published):
    """Only its caller gets the error, and nothing of it is stored; the others are, without a gap in the audit log."""
    await store.write(lambda tx: workers.insert_worker(tx, worker("w-taken"), unique_name=True))
    published.clear()
    names = ["w-1", "w-taken", "w-2"]
    outcomes = await in_one_batch(
        store, *(lambda name=name: store.write_batched(add_all, worker(name)) for name in names)
    )

    assert outcomes[::2] == ["w-1", "w-2"]
    assert isinstance(outcomes[1], ConflictError)
    assert [change.worker_id for change in published] == ["w-1", "w-2"]
    assert await subjects(store) == ["worker:w-1", "worker:w-2"]
    assert (await store.verify_audit()).ok


async def test_an_event_that_cannot_be_written_fails_only_its_operation(store, published):
    """Events are written at the end of a batch: one that the database rejects undoes only its own operation."""

    def unwritable(tx):
        workers.insert_worker(tx, worker("w-bad"), unique_name=True)
        # A time without a zone can be hashed, but not stored.
        tx.audit(event(at=NOON.replace(tzinfo=None)))

    def good(tx):
        return add_all(tx, [worker("w-good")])

    outcomes = await in_one_batch(
        store,
        lambda: store.write(good),
        lambda: store.write(unwritable),
        lambda: store.write_batched(add_all, worker("w-too")),
        lambda: store.write_batched(add_all, worker("w-as-well")),
    )

    assert isinstance(outcomes[1], StatementError)
    assert [outcomes[0], *outcomes[2:]] == [["w-good"], "w-too", "w-as-well"]
    assert [change.worker_id for change in published] == ["w-good", "w-too", "w-as-well"]
    assert await store.read(lambda conn: workers.find_worker(conn, "w-bad")) is None
    assert await subjects(store) == ["worker:w-good", "worker:w-too", "worker:w-as-well"]
    assert (await store.verify_audit()).ok


@pytest.mark.parametrize("count", [1, 2])
async def test_each_caller_gets_its_own_error(store, count):
    """If a batched operation fails for each item, each caller gets its own reason, alone or not."""

    def op(_tx, items):
        raise ConflictError("no", str(items))

    outcomes = await in_one_batch(store, *(lambda n=n: store.write_batched(op, n) for n in range(count)))

    assert [str(outcome) for outcome in outcomes] == [f"[{n}]" for n in range(count)]
