"""Refusals that operators ignore for a time."""

from datetime import timedelta

from tests.builders import NOON

from lyftdata.core.records import IgnoredRefusalRecord
from lyftdata.store.tables import ignored_refusals


def decision(subject, *, minutes):
    """Return a decision that ends so many minutes after noon."""
    until = NOON + timedelta(minutes=minutes)
    return IgnoredRefusalRecord(
        code="unknown_worker", subject=subject, until=until, at=NOON, by="operator:olga"
    )


async def listed(store, *, minutes):
    """Return the decisions in force so many minutes after noon."""
    now = NOON + timedelta(minutes=minutes)
    return await store.read(lambda conn: ignored_refusals.list_ignored(conn, now=now))


async def test_a_decision_is_in_force_until_its_end(store):
    """A later one replaces it; only expired ones are removed."""
    for one in (
        decision("worker:a", minutes=5),
        decision("worker:a", minutes=10),
        decision("worker:b", minutes=20),
    ):
        await store.write(lambda tx, one=one: ignored_refusals.ignore(tx, one))
    assert {one.subject for one in await listed(store, minutes=9)} == {"worker:a", "worker:b"}
    assert [one.subject for one in await listed(store, minutes=10)] == ["worker:b"]
    await store.write(lambda tx: ignored_refusals.remove_ended(tx, now=NOON + timedelta(minutes=10)))
    assert [one.subject for one in await listed(store, minutes=0)] == ["worker:b"]


async def test_ending_a_decision_says_whether_there_was_one(store):
    """For this cause and this caller."""
    await store.write(lambda tx: ignored_refusals.ignore(tx, decision("worker:a", minutes=5)))

    async def stop(code):
        return await store.write(lambda tx: ignored_refusals.stop_ignoring(tx, code=code, subject="worker:a"))

    assert [await stop("wrong_api_key"), await stop("unknown_worker"), await stop("unknown_worker")] == [
        False,
        True,
        False,
    ]
