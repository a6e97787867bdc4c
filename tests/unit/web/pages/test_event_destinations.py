"""The pages of event destinations."""

from datetime import timedelta

import pytest
from sqlalchemy import update
from tests.event_destinations import deliver
from tests.unit.web.conftest import get_match
from tests.unit.web.test_pages import text_of

from lyftdata.server.runtime import background
from lyftdata.store.schema import event_deliveries

FORM = {
    "name": "siem",
    "transport": "webhook",
    "url": "https://192.0.2.7/hooks/s3cr3t",
    "events": "worker.*, api_key.*",
    "labels": "",
    "ca": "",
}
ONE = "/event-destinations/siem"


async def test_a_webhook_is_added_and_its_secret_shown_once(server, browser):
    """The filter is as filled in; no other page shows the secret."""
    made = await browser.post("/add-event-destination", **FORM)
    secret = get_match(r'data-copy="(whsec_[^"]+)"', made)

    for path in (ONE, "/event-destinations", "/audit"):
        assert secret not in (await browser.get(path)).text
    view = await server.services.event_destination_queries.get("siem")
    assert (view.events, view.labels) == (["api_key.*", "worker.*"], [])
    assert "192.0.2.7:443" in text_of(await browser.get("/event-destinations"))


async def test_a_destination_is_changed_paused_resumed_and_deleted(server, browser):
    """Each step says what it did, and a field that is not edited stays."""
    await browser.post("/add-event-destination", **FORM)
    seen = get_match(r'name="seen" value="([^"]+)"', await browser.get(ONE))

    changed = await browser.post(ONE, **(FORM | {"events": "worker.*", "seen": seen}))

    assert changed.headers["location"] == ONE
    view = await server.services.event_destination_queries.get("siem")
    assert (view.events, view.url) == (["worker.*"], FORM["url"])
    await browser.post(f"{ONE}/pause")
    assert "paused" in text_of(await browser.get(ONE))
    await browser.post(f"{ONE}/resume")
    assert not (await server.services.event_destination_queries.get("siem")).is_paused
    assert "No more events are delivered" in text_of(await browser.get(f"{ONE}/delete"))
    assert (await browser.post(f"{ONE}/delete")).headers["location"] == "/event-destinations"
    assert (await browser.get(ONE)).status_code == 404


async def test_a_resent_form_rotates_a_destinations_secret_once(server, browser):
    """After a second rotation, the receiver would have neither of the secrets that sign."""
    await browser.post("/add-event-destination", **FORM)
    before = get_match(r'name="before" value="([0-9a-f]{64})"', await browser.get(ONE))

    shown = await browser.post(f"{ONE}/secret", before=before)

    assert "whsec_" in shown.text
    view = await server.services.event_destination_queries.get("siem")
    assert view.previous_secret_until == server.clock() + timedelta(hours=24)
    again = await browser.post(f"{ONE}/secret", before=before)
    assert (again.status_code, "whsec_" in again.text) == (409, False)


async def test_a_test_delivery_shows_its_result(browser):
    """The destination's page says why it was not delivered."""
    await browser.post("/add-event-destination", **(FORM | {"url": "https://127.0.0.1/"}))

    await browser.post(f"{ONE}/test")

    assert "Not delivered: 127.0.0.1:443 is an internal address" in text_of(await browser.get(ONE))


async def test_a_failing_destination_shows_its_queue_and_the_next_attempt(server, browser):
    """How many events, from which to which, of which types, the next ones, the error and the time of the next attempt."""
    await browser.post(
        "/add-event-destination", **(FORM | {"url": "https://127.0.0.1/", "events": "worker.*"})
    )
    assert "What waits" not in text_of(await browser.get(ONE))
    for number in range(1, 8):
        await browser.post("/add-worker", name=f"press-{number}", **{"with": "own"})
    last = (await server.services.audit_queries.list_page(limit=1, action="worker.created")).items[0].number
    await deliver(server)

    found = text_of(await browser.get(ONE)).replace("2026-03-01 12:00:00 UTC just now", "NOON")

    queue = (await server.services.event_destination_queries.get("siem")).queue
    assert queue is not None
    assert queue.last == last
    assert (
        f"7 events since 2026-03-01 12:00 UTC (just now), from event {queue.first} to event {last} of the audit log. "
        "The first could not be delivered: it is tried again at 2026-03-01 12:00 UTC" in found
    )
    assert "Last error 127.0.0.1:443 is an internal address" in found
    assert "Type Events worker. created 7" in found
    assert f"Delivered next No. When Who Did To {queue.first} NOON admin worker. created worker: " in found
    await browser.post(f"{ONE}/pause")
    assert "Resume the destination to deliver them." in text_of(await browser.get(ONE))


@pytest.mark.parametrize("missing", ["events", "labels"])
async def test_a_form_without_a_filters_field_is_rejected(browser, missing):
    """A missing field would be read as no filter, and let every event through."""
    form = {name: value for name, value in FORM.items() if name != missing}

    assert (await browser.post("/add-event-destination", **form)).status_code == 422


async def test_a_viewer_cannot_see_destinations(viewer):
    """Neither the pages nor a link to them."""
    assert "/event-destinations" not in (await viewer.get("/audit")).text
    assert (await viewer.get("/event-destinations")).status_code == 403


@pytest.fixture(autouse=True)
def _no_background_delivery(monkeypatch):
    """Keep the Server from delivering by itself: an attempt would change what a test has set."""
    monkeypatch.setattr(background, "_DELIVER_EVERY_S", 86_400.0)


async def reject_first_event(server, number=None):
    """Let the receiver have rejected the first waiting event three times; return the event's number."""
    view = await server.services.event_destination_queries.get("siem")
    number = number or view.queue.first

    def op(tx):
        given = {
            "through": number - 1,
            "rejected_number": number,
            "rejected_since": server.clock(),
            "rejections": 3,
            "rejection": "192.0.2.7:443 answered 403.",
            "failures": 3,
            "failing_since": server.clock(),
        }
        tx.conn.execute(update(event_deliveries).values(given))

    await server.services.store.write(op)
    return number


async def test_an_event_is_shown_before_it_is_skipped(server, browser):
    """With its content, how often it was rejected and the answer; only this event is skipped, and the page says so."""
    await browser.post("/add-event-destination", **(FORM | {"url": "https://127.0.0.1/"}))
    await browser.post("/add-worker", name="press <b>1</b>", **{"with": "own"})
    queue = (await server.services.event_destination_queries.get("siem")).queue
    number = await reject_first_event(server, queue.first)
    assert f"siem rejects event {number}." in text_of(await browser.get(ONE))

    asked = await browser.get(f"{ONE}/skip")

    found = text_of(asked)
    assert f"Skip event {number} for siem?" in found
    assert "Did worker. created" in found
    assert "press <b>1</b>" not in asked.text
    assert "Rejected 3 times since" in found
    assert "Answer 192.0.2.7:443 answered 403." in found
    assert get_match(r'name="number" value="(\d+)"', asked) == str(number)
    again = await browser.post(f"{ONE}/skip", number=str(number), reason="")
    assert again.status_code == 422
    done = await browser.post(f"{ONE}/skip", number=str(number), reason="its text")
    assert (done.status_code, done.headers["location"]) == (303, ONE)
    assert f"Event {number} was skipped." in text_of(await browser.get(ONE))
    view = await server.services.event_destination_queries.get("siem")
    assert (view.skipped, view.through, view.rejected) == (1, number, None)


@pytest.mark.parametrize("number", ["", "0", "-1", "1e3", "9" * 30, "\u0661"])
async def test_a_form_without_a_valid_number_skips_no_event(server, browser, number):
    """Never whichever event happens to be first."""
    await browser.post("/add-event-destination", **(FORM | {"events": "", "url": "https://127.0.0.1/"}))
    await reject_first_event(server)

    answer = await browser.post(f"{ONE}/skip", number=number, reason="its text")

    assert answer.status_code in {409, 422}
    assert (await server.services.event_destination_queries.get("siem")).skipped == 0


async def test_a_stale_page_skips_nothing(server, browser):
    """The event that it showed has been delivered, and another one now holds up the queue."""
    await browser.post("/add-event-destination", **(FORM | {"events": "", "url": "https://127.0.0.1/"}))
    await browser.post("/add-worker", name="press-1", **{"with": "own"})
    first = await reject_first_event(server)
    await reject_first_event(server, first + 1)

    answer = await browser.post(f"{ONE}/skip", number=str(first), reason="its text")

    assert answer.status_code == 409
    assert "does not wait for siem any more" in text_of(answer)
    assert (await server.services.event_destination_queries.get("siem")).skipped == 0
