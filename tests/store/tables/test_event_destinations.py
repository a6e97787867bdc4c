"""Event destinations, and how far each has got."""

from datetime import timedelta

import msgspec
import pytest
from tests.builders import NOON, event
from tests.store.conftest import count_successes

from lyftdata.core.errors import ConflictError, NotFoundError
from lyftdata.core.event_destinations import EVENT_SKIPPED
from lyftdata.core.records import EventDeliveryRecord, EventDestinationRecord, Transport
from lyftdata.store.tables import event_destinations

_DEAD = timedelta(seconds=5)


def destination(name="siem", **fields):
    """Return a destination."""
    given = {
        "name": name,
        "transport": Transport.SYSLOG,
        "endpoint": "siem.example.com:6514",
        "sealed_target": b"\x00\xff",
        "ca": "PEM",
        "events": ["worker.*"],
        "labels": ["gpu"],
        "previous_secret_until": NOON,
        "paused_at": NOON,
        "created_at": NOON,
        "created_by": "operator:admin",
    }
    return EventDestinationRecord(**given | fields)


async def insert(store, record, after=3):
    """Add a destination."""
    await store.write(lambda tx: event_destinations.insert_destination(tx, record, after=after))


async def test_every_field_is_stored(store):
    """A destination begins at the given position."""
    await insert(store, destination())

    assert await store.read(event_destinations.all_destinations) == [destination()]
    delivery = await store.read(lambda conn: event_destinations.find_delivery(conn, "siem"))
    assert (delivery.through, delivery.holder) == (3, None)
    with pytest.raises(NotFoundError):
        await store.read(lambda conn: event_destinations.get_destination(conn, "other"))


async def test_a_name_is_unique(store):
    """Also to concurrent callers."""
    assert await count_successes([insert(store, destination()) for _ in range(5)]) == 1

    with pytest.raises(ConflictError) as refused:
        await insert(store, destination())
    assert refused.value.code == "event_destination_name_taken"


async def test_a_deleted_destination_leaves_no_position(store):
    """A new destination with the same name begins at its own position."""
    await insert(store, destination())
    changed = msgspec.structs.replace(destination(), paused_at=None)
    await store.write(lambda tx: event_destinations.replace_destination(tx, changed))

    assert await store.write(lambda tx: event_destinations.delete_destination(tx, "siem")) == changed
    await insert(store, destination(), after=9)

    deliveries = await store.read(event_destinations.all_deliveries)
    assert {name: one.through for name, one in deliveries.items()} == {"siem": 9}


async def test_only_the_holder_of_a_destination_updates_its_position(store):
    """A Server that lost it overwrites nothing."""
    await insert(store, destination())

    def claim(tx):
        return event_destinations.claim(tx, "siem", server_id="one", dead_after=_DEAD)

    assert await store.write(claim)
    assert not await store.write(
        lambda tx: event_destinations.claim(tx, "none", server_id="one", dead_after=_DEAD)
    )
    delivery = await store.read(lambda conn: event_destinations.find_delivery(conn, "siem"))
    further = msgspec.structs.replace(delivery, through=7, delivered=4, last_success_at=NOON)

    def update(server_id):
        return store.write(
            lambda tx: event_destinations.update_delivery(tx, further, before=3, server_id=server_id)
        )

    assert (await update("two"), await update("one")) == (False, True)
    assert await store.read(lambda conn: event_destinations.find_delivery(conn, "siem")) == further


@pytest.mark.parametrize(
    ("patterns", "count"), [([], 5), (["*"], 5), (["worker.*"], 3), (["worker.created", "api_key.issued"], 3)]
)
async def test_waiting_events_are_counted_by_type(store, patterns, count):
    """An underscore in a group is not a wildcard, and the count is limited."""

    def op(tx):
        for action in ("worker.created", "worker.created", "worker.deleted", "api_key.issued", "workerx.y"):
            tx.audit(event(action))

    await store.write(op)

    def counted(at_most):
        return store.read(
            lambda conn: event_destinations.count_waiting(
                conn, "siem", after=0, patterns=patterns, at_most=at_most
            )
        )

    def listed(at_most):
        return store.read(
            lambda conn: event_destinations.waiting_events(
                conn, "siem", after=0, patterns=patterns, at_most=at_most
            )
        )

    assert (await counted(100), await counted(2)) == (count, 2)
    waiting = await listed(100)
    assert len(waiting) == count
    assert await listed(2) == waiting[:2]
    assert [number for number, _ in waiting] == sorted(number for number, _ in waiting)


async def test_the_notice_of_a_skipped_event_waits_for_its_destination(store):
    """Whatever types it selects; notices about other destinations, or about a skipped notice, do not."""

    def op(tx):
        for name, type_ in (("siem", "worker.created"), ("pager", "worker.created"), ("siem", EVENT_SKIPPED)):
            subject, details = f"event_destination:{name}", {"type": type_}
            tx.audit(msgspec.structs.replace(event(EVENT_SKIPPED), subject=subject, details=details))

    await store.write(op)

    def waiting(conn):
        return event_destinations.waiting_events(
            conn, "siem", after=0, patterns=["worker.*"], at_most=9
        ), event_destinations.count_waiting(conn, "siem", after=0, patterns=["worker.*"], at_most=9)

    listed, counted = await store.read(waiting)
    assert ([number for number, _ in listed], counted) == ([1], 1)


async def add_rejecting(store, *, times=3):
    """Add a destination whose receiver has rejected event 4 so many times; return its position."""
    await insert(store, destination())
    await store.write(lambda tx: event_destinations.claim(tx, "siem", server_id="one", dead_after=_DEAD))
    delivery = await store.read(lambda conn: event_destinations.find_delivery(conn, "siem"))
    rejected = msgspec.structs.replace(
        delivery,
        failures=times,
        failing_since=NOON,
        next_attempt_at=NOON,
        rejected_number=4,
        rejected_since=NOON,
        rejections=times,
        rejection="answered 400.",
    )
    await store.write(lambda tx: event_destinations.update_delivery(tx, rejected, before=3, server_id="one"))
    return rejected


async def test_an_event_is_skipped_once(store):
    """By one of many concurrent callers; the next event is not skipped with it, and the rejection is cleared."""
    await add_rejecting(store)

    def skip(number=4):
        return store.write(lambda tx: event_destinations.skip_event(tx, "siem", number))

    assert await count_successes([skip() for _ in range(5)]) == 1

    delivery = await store.read(lambda conn: event_destinations.find_delivery(conn, "siem"))
    assert delivery == EventDeliveryRecord(name="siem", through=4, holder="one", skipped=1)
    for number in (4, 5):
        with pytest.raises(ConflictError):
            await skip(number)
    with pytest.raises(NotFoundError):
        await store.write(lambda tx: event_destinations.skip_event(tx, "other", 4))


async def test_an_attempt_in_progress_does_not_undo_a_skip(store):
    """Its outcome is not recorded: it began at a position that the destination has left."""
    rejected = await add_rejecting(store)
    await store.write(lambda tx: event_destinations.skip_event(tx, "siem", 4))

    for after in (3, 4, 9):
        late = msgspec.structs.replace(rejected, through=after)
        assert not await store.write(
            lambda tx, late=late: event_destinations.update_delivery(tx, late, before=3, server_id="one")
        )

    delivery = await store.read(lambda conn: event_destinations.find_delivery(conn, "siem"))
    assert (delivery.through, delivery.skipped) == (4, 1)


async def test_an_event_delivered_meanwhile_is_not_skipped(store):
    """The operator saw it wait, but it does not any more."""
    rejected = await add_rejecting(store)
    done = msgspec.structs.replace(rejected, through=4, failures=0)
    assert await store.write(
        lambda tx: event_destinations.update_delivery(tx, done, before=3, server_id="one")
    )

    with pytest.raises(ConflictError) as refused:
        await store.write(lambda tx: event_destinations.skip_event(tx, "siem", 4))
    assert refused.value.code == "event_does_not_wait"


@pytest.mark.parametrize(("times", "number"), [(2, 4), (3, 5)])
async def test_only_an_event_rejected_three_times_is_skipped(store, times, number):
    """Not one rejected twice, nor the event behind it."""
    await add_rejecting(store, times=times)

    with pytest.raises(ConflictError) as refused:
        await store.write(lambda tx: event_destinations.skip_event(tx, "siem", number))
    assert refused.value.code == "event_not_rejected"
