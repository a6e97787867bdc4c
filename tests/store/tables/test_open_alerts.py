"""Alerts that were raised and have not ended."""

from datetime import timedelta

from tests.builders import NOON

from lyftdata.core.records import OpenAlertRecord
from lyftdata.store.tables import open_alerts


async def test_alerts_are_stored_until_they_end(store):
    """By kind and key, with the time they were last seen."""
    first, second = (
        OpenAlertRecord(kind="refused", key=key, raised_at=NOON, last_seen_at=NOON) for key in ("a", "b")
    )
    for record in (second, first):
        await store.write(lambda tx, record=record: open_alerts.raise_alert(tx, record))
    assert await store.read(open_alerts.all_open) == [first, second]

    later = NOON + timedelta(minutes=1)
    await store.write(lambda tx: open_alerts.note_seen(tx, first, at=later))
    await store.write(lambda tx: open_alerts.end_alert(tx, second))

    (left,) = await store.read(open_alerts.all_open)
    assert (left.key, left.raised_at, left.last_seen_at) == ("a", NOON, later)
