"""Destinations of events, and how far each has got."""

from datetime import timedelta

import msgspec
import pytest
from tests.builders import NOON, event
from tests.store.conftest import winners

from lyftdata.core.errors import ConflictError, NotFoundError
from lyftdata.core.records import EventDestinationRecord, Transport
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


async def test_every_field_is_kept(store):
    """And a destination begins where it was told to."""
    await insert(store, destination())

    assert await store.read(event_destinations.all_destinations) == [destination()]
    delivery = await store.read(lambda conn: event_destinations.find_delivery(conn, "siem"))
    assert (delivery.through, delivery.holder) == (3, None)
    with pytest.raises(NotFoundError):
        await store.read(lambda conn: event_destinations.get_destination(conn, "other"))


async def test_a_name_is_given_once(store):
    """Also to callers that ask at once."""
    assert await winners([insert(store, destination()) for _ in range(5)]) == 1

    with pytest.raises(ConflictError) as refused:
        await insert(store, destination())
    assert refused.value.code == "event_destination_name_taken"


async def test_what_is_removed_leaves_no_position(store):
    """A destination of the same name that is added later begins where it is told to."""
    await insert(store, destination())
    changed = msgspec.structs.replace(destination(), paused_at=None)
    await store.write(lambda tx: event_destinations.replace_destination(tx, changed))

    assert await store.write(lambda tx: event_destinations.delete_destination(tx, "siem")) == changed
    await insert(store, destination(), after=9)

    deliveries = await store.read(event_destinations.all_deliveries)
    assert {name: one.through for name, one in deliveries.items()} == {"siem": 9}


async def test_only_its_holder_records_how_far_it_has_got(store):
    """A Server that lost it sets nothing back."""
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
        return store.write(lambda tx: event_destinations.update_delivery(tx, further, server_id=server_id))

    assert (await update("two"), await update("one")) == (False, True)
    assert await store.read(lambda conn: event_destinations.find_delivery(conn, "siem")) == further


@pytest.mark.parametrize(
    ("patterns", "count"), [([], 5), (["*"], 5), (["worker.*"], 3), (["worker.created", "api_key.issued"], 3)]
)
async def test_what_waits_is_counted_by_type(store, patterns, count):
    """An underscore in a group is a letter like others, and what is counted is bounded."""

    def op(tx):
        for action in ("worker.created", "worker.created", "worker.deleted", "api_key.issued", "workerx.y"):
            tx.audit(event(action))

    await store.write(op)

    def counted(at_most):
        return store.read(
            lambda conn: event_destinations.count_waiting(conn, after=0, patterns=patterns, at_most=at_most)
        )

    def listed(at_most):
        return store.read(
            lambda conn: event_destinations.waiting_events(conn, after=0, patterns=patterns, at_most=at_most)
        )

    assert (await counted(100), await counted(2)) == (count, 2)
    waiting = await listed(100)
    assert len(waiting) == count
    assert await listed(2) == waiting[:2]
    assert [number for number, _ in waiting] == sorted(number for number, _ in waiting)
