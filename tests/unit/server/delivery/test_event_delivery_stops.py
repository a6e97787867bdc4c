"""A destination that has stopped says why and since when, until it is delivered to again."""

import pytest
from tests.event_destinations import add_webhook, add_worker, deliver, shown

METRIC = "lyftdata_event_destination_stopped_timestamp_seconds"


async def stopped(server):
    """Return from the metrics why nothing is delivered to the destination, and since when for each reason."""
    await deliver(server)
    lines = (await server.http.get("/metrics")).text.splitlines()
    found = {
        line.partition('state="')[2].partition('"')[0]: float(line.split()[-1])
        for line in lines
        if line.startswith(METRIC + '{destination="hook"')
    }
    assert set(found) == {"paused", "failing", "rejecting"}
    return {state: at for state, at in found.items() if at}


async def event_alerts(server):
    """Return the alerts about events."""
    found = await server.services.alerts.find()
    return [(alert.kind, alert.subject, alert.title) for alert in found if alert.kind.startswith("events_")]


async def attempt(server, times=1):
    """Attempt so many deliveries, each when the backoff is over."""
    for _ in range(times):
        server.clock.forward(minutes=11)
        await deliver(server)


async def test_a_pause_is_shown_at_once_and_raises_an_alert_after_an_hour(server, admin, hook):
    """Both end when it is resumed."""
    await add_webhook(server, admin, hook)
    path = "/api/event-destinations/hook"
    await server.http.patch(path, json={"paused": True}, headers=admin)
    since = server.clock().timestamp()
    assert await stopped(server) == {"paused": since}
    server.clock.forward(minutes=59)
    assert await event_alerts(server) == []
    server.clock.forward(minutes=1)
    (found,) = await event_alerts(server)
    assert found[:2] == ("events_paused", "hook")
    assert await stopped(server) == {"paused": since}

    await server.http.patch(path, json={"paused": False}, headers=admin)

    assert await event_alerts(server) == []
    assert await stopped(server) == {}


async def test_a_rejected_event_is_shown_with_its_count_start_and_answer(server, admin, hook):
    """The third rejection raises an alert; its delivery ends it."""
    await add_webhook(server, admin, hook)
    await deliver(server)
    await add_worker(server, admin, "w-1", name="poison")
    await add_worker(server, admin, "w-2")
    hook.filtered = "poison"
    await deliver(server)
    since = server.clock()
    assert await stopped(server) == {"failing": since.timestamp()}
    await attempt(server)
    assert await event_alerts(server) == []
    await attempt(server)

    rejected = (await shown(server, admin))["rejected"]

    number = (await shown(server, admin))["queue"]["first"]
    assert {name: rejected[name] for name in ("number", "type", "subject", "actor", "times", "answer")} == {
        "number": number,
        "type": "worker.created",
        "subject": "worker:w-1",
        "actor": "operator:admin",
        "times": 3,
        "answer": f"127.0.0.1:{hook.port} answered 403.",
    }
    assert rejected["since"] == since.isoformat().replace("+00:00", "Z")
    assert await event_alerts(server) == [
        ("events_wait", "hook", f"hook rejects event {number}, and 2 events wait")
    ]
    assert await stopped(server) == {"failing": since.timestamp(), "rejecting": since.timestamp()}
    hook.filtered = ""
    await attempt(server)
    assert hook.subjects[-2:] == ["worker:w-1", "worker:w-2"]
    assert (await event_alerts(server), await stopped(server)) == ([], {})
    assert (await shown(server, admin))["rejected"] is None


@pytest.mark.parametrize("status", [429, 503])
async def test_a_receiver_that_asks_to_wait_has_not_rejected_the_event(server, admin, hook, status):
    """It is only shown as failing."""
    await add_webhook(server, admin, hook)
    hook.status = status
    await attempt(server, 3)

    found = await shown(server, admin)

    assert (found["failures"], found["rejected"]) == (3, None)
    assert set(await stopped(server)) == {"failing"}


async def test_rejections_are_counted_for_each_event(server, admin, hook):
    """The count of an event that was delivered does not carry over to the next."""
    await add_webhook(server, admin, hook)
    hook.status = 400
    await attempt(server, 3)
    hook.status = 204
    await attempt(server)
    await add_worker(server, admin, "w-1")
    hook.status = 400
    await attempt(server)

    found = (await shown(server, admin))["rejected"]

    assert (found["subject"], found["times"]) == ("worker:w-1", 1)
    assert found["since"] == server.clock().isoformat().replace("+00:00", "Z")


async def test_a_new_address_resets_the_rejections(server, admin, hook):
    """The answers of the receiver at the previous address do not count; that the destination fails still does."""
    await add_webhook(server, admin, hook)
    hook.status = 400
    await attempt(server, 3)
    since = (await shown(server, admin))["failing_since"]

    admin = await server.sign_in()
    path, url = "/api/event-destinations/hook", f"http://127.0.0.1:{hook.port}/other"
    assert (await server.http.patch(path, json={"url": url}, headers=admin)).status_code == 200
    found = await shown(server, admin)
    assert (found["rejected"], found["failing_since"]) == (None, since)
    await attempt(server)

    found = await shown(server, admin)
    assert (found["rejected"]["times"], found["failing_since"]) == (1, since)


async def test_a_manual_retry_does_not_end_the_alert(server, admin, hook):
    """Only a delivery does: otherwise an operator who retries again and again would never be alerted."""
    await add_webhook(server, admin, hook)
    hook.status = 503
    await attempt(server, 3)

    await server.http.patch("/api/event-destinations/hook", json={"paused": False}, headers=admin)

    assert [kind for kind, _, _ in await event_alerts(server)] == ["events_wait"]
    assert set(await stopped(server)) == {"failing"}
