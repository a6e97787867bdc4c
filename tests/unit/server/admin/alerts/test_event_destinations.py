"""Alerts about event destinations to which nothing is delivered."""

from datetime import timedelta
from typing import Any

import pytest
from tests.builders import NOON

from lyftdata.core.records import Transport
from lyftdata.server.admin.alerts.event_destinations import event_alerts
from lyftdata.server.admin.schemas.event_destinations import EventDestination, RejectedEvent

MINUTE = timedelta(minutes=1)


def destination(**fields):
    """Return a destination as operators see it."""
    given: dict[str, Any] = {
        "name": "siem",
        "transport": Transport.WEBHOOK,
        "url": "https://siem.example.com/s3cr3t",
        "endpoint": "siem.example.com:443",
        "file": "",
        "events": [],
        "labels": [],
        "ca": "",
        "is_paused": "paused_at" in fields,
        "paused_at": None,
        "through": 40,
        "waiting": 2,
        "delivered": 7,
        "lost": 0,
        "skipped": 0,
        "failures": 0,
        "failing_since": None,
        "rejected": None,
        "last_success_at": None,
        "last_error": "",
        "last_error_at": None,
        "next_attempt_at": None,
        "previous_secret_until": None,
        "created_at": NOON,
        "created_by": "operator:admin",
    }
    return EventDestination(**given | fields)


def rejected(times):
    """Return an event that the receiver has rejected so many times."""
    return RejectedEvent(
        number=41,
        at=NOON,
        type="worker.created",
        subject="worker:press-01",
        actor="operator:ada",
        address="203.0.113.7",
        details={"name": "<script>"},
        times=times,
        since=NOON,
        answer="siem.example.com:443 answered 403.",
        may_be_skipped=times >= 3,
    )


def shown(one, *, after=timedelta()):
    """Return kind, title and detail of each alert."""
    return [(alert.kind, alert.title, alert.detail) for alert in event_alerts([one], now=NOON + after)]


@pytest.mark.parametrize(("minutes", "is_raised"), [(59, False), (60, True)])
def test_a_destination_that_is_paused_for_an_hour_raises_an_alert(minutes, is_raised):
    """The alert says since when, and how many events wait; it is the only alert about a paused destination."""
    one = destination(paused_at=NOON, failures=9, rejected=rejected(9))

    expected = (
        "events_paused",
        "Events for siem have been paused since 2026-03-01 12:00 UTC",
        "2 events wait.",
    )
    assert shown(one, after=minutes * MINUTE) == [expected] * is_raised


@pytest.mark.parametrize(("failures", "is_raised"), [(2, False), (3, True)])
def test_a_destination_that_fails_repeatedly_raises_an_alert(failures, is_raised):
    """With the last error."""
    one = destination(failures=failures, last_error="siem.example.com:443: no answer in time.")

    expected = ("events_wait", "2 events wait for siem", "siem.example.com:443: no answer in time.")
    assert shown(one) == [expected] * is_raised


def test_a_rejected_event_is_named_only_by_its_number():
    """The alert is an event itself: with the text that made the receiver reject the other one, it would be rejected too."""
    (found,) = shown(destination(failures=3, rejected=rejected(3), waiting=1))

    assert found == (
        "events_wait",
        "siem rejects event 41, and 1 event waits",
        "Rejected 3 times since 2026-03-01 12:00 UTC: siem.example.com:443 answered 403.",
    )


def test_two_rejections_raise_no_alert():
    """Only the third is taken as a rejection of this event."""
    assert shown(destination(failures=2, rejected=rejected(2))) == []
