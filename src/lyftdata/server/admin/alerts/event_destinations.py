"""
Finds event destinations that receive nothing: they fail, their receiver rejects an event, or they stay paused.

No alert repeats the text of an event: alerts are delivered as events too, and must not be rejected for the same text.
"""

from collections.abc import Sequence
from datetime import datetime

from lyftdata.core.event_destinations import MAX_PAUSE
from lyftdata.core.text import count
from lyftdata.core.times import format_minute
from lyftdata.server.admin.schemas.event_destinations import EventDestination, RejectedEvent
from lyftdata.server.admin.schemas.status import Alert, AlertKind

_MIN_FAILURES = 3


def event_alerts(destinations: Sequence[EventDestination], *, now: datetime) -> list[Alert]:
    """Return an alert for each destination to which nothing is delivered."""
    found = (_alert(one, now) for one in destinations)
    return [alert for alert in found if alert is not None]


def _alert(one: EventDestination, now: datetime) -> Alert | None:
    if one.paused_at is not None:
        return _paused(one, one.paused_at) if now - one.paused_at >= MAX_PAUSE else None
    if one.rejected is not None and one.rejected.may_be_skipped:
        return _rejecting(one, one.rejected)
    return _failing(one) if one.failures >= _MIN_FAILURES else None


def _paused(one: EventDestination, since: datetime) -> Alert:
    return Alert(
        kind=AlertKind.EVENTS_PAUSED,
        subject=one.name,
        key=one.name,
        title=f"Events for {one.name} have been paused since {format_minute(since)}",
        detail=f"{_waiting(one)}.",
    )


def _rejecting(one: EventDestination, event: RejectedEvent) -> Alert:
    return Alert(
        kind=AlertKind.EVENTS_WAIT,
        subject=one.name,
        key=one.name,
        about=[f"rejects event {event.number}"],
        title=f"{one.name} rejects event {event.number}, and {_waiting(one)}",
        detail=f"Rejected {count(event.times, 'time')} since {format_minute(event.since)}: {event.answer}",
    )


def _failing(one: EventDestination) -> Alert:
    return Alert(
        kind=AlertKind.EVENTS_WAIT,
        subject=one.name,
        key=one.name,
        about=_magnitude(one.waiting),
        title=f"{_waiting(one)} for {one.name}",
        detail=one.last_error,
    )


def _magnitude(number: int) -> list[str]:
    """Return one member for each digit of the number, so that a snoozed alert comes back when ten times as many events wait."""
    return [f"1 and {zeros} zeros" for zeros in range(len(str(number)))]


def _waiting(one: EventDestination) -> str:
    return f"{count(one.waiting, 'event')} {'waits' if one.waiting == 1 else 'wait'}"
