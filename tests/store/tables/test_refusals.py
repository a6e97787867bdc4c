"""Refusals: grouped by cause, and limited in number."""

from datetime import timedelta
from typing import Any

from tests.builders import NOON

from lyftdata.core.records import (
    RefusalAttempt,
)
from lyftdata.store.tables import (
    refusals,
)


def attempt(n, **fields):
    """Return a refused attempt."""
    given: dict[str, Any] = {
        "reference": f"R{n:07}",
        "code": "wrong_api_key",
        "at": NOON + timedelta(seconds=n),
        "address": "192.0.2.1",
        "claimed_worker": "w-1",
        "detail": f"d{n}",
        "proved": False,
    }
    return RefusalAttempt(**(given | fields))


async def test_refusals_are_grouped_and_found_by_reference(store):
    """The group is cause, Worker and address; each attempt is found by its reference."""
    await store.write(
        lambda tx: refusals.record_refusals(tx, [attempt(1), attempt(2), attempt(3, code="unknown_worker")])
    )
    await store.write(lambda tx: refusals.record_refusals(tx, [attempt(4)]))

    first, second = await store.read(refusals.list_groups)
    assert (first.code, first.count, first.first_at, first.last_reference) == (
        "wrong_api_key",
        3,
        NOON + timedelta(seconds=1),
        "R0000004",
    )
    assert second.code == "unknown_worker"
    assert await store.read(lambda conn: refusals.find_reference(conn, "R0000002")) == attempt(2)
    assert await store.read(lambda conn: refusals.find_reference(conn, "NOPE")) is None


async def test_only_the_latest_refusals_of_a_flood_are_kept(store, monkeypatch):
    """However many attempts and claimed Workers there are."""
    monkeypatch.setattr(refusals, "MAX_GROUPS", 10)
    monkeypatch.setattr(refusals, "MAX_ATTEMPTS", 20)
    for start in range(0, 100, 10):
        flood = [attempt(start + n, claimed_worker=f"w-{start + n}") for n in range(10)]
        await store.write(lambda tx, flood=flood: refusals.record_refusals(tx, flood))

    groups = await store.read(lambda conn: refusals.list_groups(conn, limit=1000))
    assert [group.claimed_worker for group in groups] == [f"w-{n}" for n in range(99, 89, -1)]
    assert await store.read(lambda conn: refusals.find_reference(conn, "R0000079")) is None
    assert await store.read(lambda conn: refusals.find_reference(conn, "R0000080")) is not None
