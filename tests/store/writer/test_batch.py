"""What is written together is kept as if each had been alone."""

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
    """Add Workers at once, with an event for each; return their IDs."""
    workers.insert_fresh(tx, records)
    for record in records:
        tx.audit(event(subject=f"worker:{record.id}"))
    return [record.id for record in records]


async def in_one_group(store, *operations):
    """Have the writer find all of these at once; return what came of each."""
    go_on = threading.Event()
    held = asyncio.ensure_future(store.write(lambda _tx: go_on.wait(180)))
    asking = [asyncio.ensure_future(operation()) for operation in operations]
    await asyncio.sleep(0)
    go_on.set()
    await held
    return await asyncio.gather(*asking, return_exceptions=True)


async def subjects(store):
    """Return whom the audit log tells of, in order."""
    found = await store.read(lambda conn: audit_log.events_after(conn, after=0, limit=100))
    return [one.event.subject for one in found]


async def test_neighbours_are_run_at_once(store, published):
    """What has queued for one operation is given to it in one call; each caller gets its own, and all is told."""
    sizes = []

    def op(tx, records):
        sizes.append(len(records))
        return add_all(tx, records)

    names = [f"w-{n}" for n in range(5)]
    outcomes = await in_one_group(
        store, *(lambda name=name: store.write_batched(op, worker(name)) for name in names)
    )

    assert (outcomes, sizes) == (names, [5])
    assert published == [WorkerChanged(name, worker(name)) for name in names]
    assert await subjects(store) == [f"worker:{name}" for name in names]
    assert (await store.verify_audit()).ok


async def test_the_order_of_what_is_queued_stays(store):
    """An operation between two that may be run at once is run between them."""
    order = []

    def op(_tx, items):
        order.extend(items)
        return items

    await in_one_group(
        store,
        lambda: store.write_batched(op, "first"),
        lambda: store.write(lambda _tx: order.append("second")),
        lambda: store.write_batched(op, "third"),
    )

    assert order == ["first", "second", "third"]


async def test_of_many_at_once_one_that_fails_fails_alone(store, published):
    """If one is at fault it alone is told so, and nothing of it is kept; the others are, without a gap in the log."""
    await store.write(lambda tx: workers.insert_worker(tx, worker("w-taken"), unique_name=True))
    published.clear()
    names = ["w-1", "w-taken", "w-2"]
    outcomes = await in_one_group(
        store, *(lambda name=name: store.write_batched(add_all, worker(name)) for name in names)
    )

    assert outcomes[::2] == ["w-1", "w-2"]
    assert isinstance(outcomes[1], ConflictError)
    assert [change.worker_id for change in published] == ["w-1", "w-2"]
    assert await subjects(store) == ["worker:w-1", "worker:w-2"]
    assert (await store.verify_audit()).ok


async def test_an_event_that_cannot_be_written_fails_its_own_operation(store, published):
    """Of a group's events, written at its end, one that the database does not take undoes what it tells of alone."""

    def unwritable(tx):
        workers.insert_worker(tx, worker("w-bad"), unique_name=True)
        # A time without a zone: it can be hashed, but not kept.
        tx.audit(event(at=NOON.replace(tzinfo=None)))

    def good(tx):
        return add_all(tx, [worker("w-good")])

    outcomes = await in_one_group(
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
async def test_what_fails_alone_tells_its_caller(store, count):
    """An operation for many that fails for each tells each why, whether it was alone or not."""

    def op(_tx, items):
        raise ConflictError("no", str(items))

    outcomes = await in_one_group(store, *(lambda n=n: store.write_batched(op, n) for n in range(count)))

    assert [str(outcome) for outcome in outcomes] == [f"[{n}]" for n in range(count)]
