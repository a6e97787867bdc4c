"""Alerts that operators have snoozed."""

from datetime import timedelta

from tests.builders import NOON

from lyftdata.core.snoozing import SnoozedAlertRecord
from lyftdata.store.tables import snoozed_alerts


def decision(alert, *, minutes):
    """Return a snooze that ends so many minutes after noon."""
    return SnoozedAlertRecord(
        alert=alert,
        kind="refused",
        title="press-01 was refused",
        until=NOON + timedelta(minutes=minutes),
        at=NOON,
        by="operator:olga",
        note="known",
        size=1,
        members="0123456789abcdef",
    )


async def listed(store, *, minutes):
    """Return the snoozes in force so many minutes after noon."""
    now = NOON + timedelta(minutes=minutes)
    return await store.read(lambda conn: snoozed_alerts.list_snoozed(conn, now=now))


async def test_a_snooze_is_in_force_until_its_end_or_until_it_is_ended(store):
    """A later one replaces it; only expired ones are removed."""
    first, second, third = decision("a", minutes=5), decision("a", minutes=10), decision("b", minutes=20)
    for one in (first, second, third):
        await store.write(lambda tx, one=one: snoozed_alerts.snooze(tx, one))

    assert await listed(store, minutes=9) == [second, third]
    assert await listed(store, minutes=10) == [third]
    await store.write(lambda tx: snoozed_alerts.remove_ended(tx, now=NOON + timedelta(minutes=10)))
    assert await listed(store, minutes=0) == [third]
    await store.write(lambda tx: snoozed_alerts.unsnooze(tx, "b"))
    assert await listed(store, minutes=0) == []
