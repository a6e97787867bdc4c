"""Requests of one operator that another must confirm."""

import asyncio
from datetime import timedelta

import msgspec
from tests.builders import NOON

from lyftdata.core.change_requests import (
    ChangeRequestRecord,
    ChangeWorkers,
    RequestState,
    encode_operation,
)
from lyftdata.store.tables import change_requests

OPERATION = encode_operation(ChangeWorkers(action="delete", worker_ids=["w-1", "w-2"], search="zone=eu"))


def request(request_id, *, operator="ann", minutes=0, **fields):
    """Return a pending request."""
    at = NOON + timedelta(minutes=minutes)
    return ChangeRequestRecord(
        id=request_id,
        operation=OPERATION,
        operator=operator,
        requester_mark="m" * 64,
        address="192.0.2.1",
        event=7,
        reason="",
        requested_at=at,
        expires_at=at + timedelta(days=1),
        **{"scope": None, "api_token": None, **fields},
    )


async def stored(store, *records):
    """Add requests."""
    for record in records:
        await store.write(lambda tx, record=record: change_requests.insert_request(tx, record))


async def decide(store, request_id, state=RequestState.CONFIRMED, *, at=NOON):
    """Decide a request; return whether it was pending."""
    return await store.write(
        lambda tx: change_requests.decide_request(
            tx, request_id, state, by="operator:ben", note="seen", at=at
        )
    )


async def test_a_request_is_read_as_it_was_written(store):
    """With the scope of its requester, or without one, which differs from an empty scope."""
    await stored(store, request("a"), request("b", scope={"team": "etl"}, api_token="ci"))

    for request_id, scope in (("a", None), ("b", {"team": "etl"})):
        found = await store.read(lambda conn, one=request_id: change_requests.find_request(conn, one))
        assert (found.scope, found.asked.worker_ids, found.state) == (scope, ["w-1", "w-2"], "pending")
    assert await store.read(lambda conn: change_requests.find_request(conn, "c")) is None


async def test_of_two_decisions_one_takes_effect(store):
    """Replay: the second one changes nothing."""
    await stored(store, request("a"))

    done = await asyncio.gather(decide(store, "a"), decide(store, "a", RequestState.DECLINED))

    assert sorted(done) == [False, True]
    found = await store.read(lambda conn: change_requests.find_request(conn, "a"))
    assert (found.decided_by, found.note, found.decided_at) == ("operator:ben", "seen", NOON)
    assert not await decide(store, "nothing")


async def test_pending_and_decided_requests_are_listed(store):
    """Pending ones oldest first, decided ones latest first; an equal request of the same operator is found."""
    others = request("d", minutes=3)
    await stored(
        store,
        request("a"),
        request("b", minutes=1),
        request("c", minutes=2, operator="ben"),
        msgspec.structs.replace(others, operation=OPERATION.replace("zone=eu", "zone=us")),
    )
    await stored(store, request("e", minutes=4))
    for request_id in ("b", "e"):
        await decide(store, request_id)

    pending = await store.read(change_requests.all_pending)
    listed = await store.read(lambda conn: change_requests.list_decided(conn, limit=2))
    same = await store.read(lambda conn: change_requests.find_pending_of(conn, "ann", OPERATION))
    counts = await store.read(
        lambda conn: [change_requests.count_pending(conn, *who) for who in ((), ("ann",), ("ben",))]
    )

    assert [one.id for one in pending] == ["a", "c", "d"]
    assert [one.id for one in listed] == ["e", "b"]
    assert [one.id for one in same] == ["a"]
    assert counts == [3, 2, 1]


async def test_a_reason_is_stored_and_old_decisions_are_deleted(store):
    """A pending request is not deleted, however old it is."""
    await stored(store, request("a"), request("b"), request("c"))
    await store.write(lambda tx: change_requests.give_reason(tx, "a", "rack 7"))
    await decide(store, "b", at=NOON)
    await decide(store, "c", at=NOON + timedelta(days=1))

    await store.write(lambda tx: change_requests.delete_decided_before(tx, NOON + timedelta(hours=1)))

    left = await store.read(lambda conn: change_requests.list_decided(conn, limit=9))
    waiting = await store.read(change_requests.all_pending)
    assert ({one.id for one in left}, [one.reason for one in waiting]) == ({"c"}, ["rack 7"])
