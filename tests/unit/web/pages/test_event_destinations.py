"""The pages of event destinations."""

from datetime import timedelta

import pytest
from sqlalchemy import update
from tests.event_destinations import deliver
from tests.unit.web.conftest import the
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
    """With the filter as it was filled in; no page shows the secret again."""
    made = await browser.post("/add-event-destination", **FORM)
    secret = the(r'data-copy="(whsec_[^"]+)"', made)

    for path in (ONE, "/event-destinations", "/audit"):
        assert secret not in (await browser.get(path)).text
    view = await server.services.event_destination_queries.get("siem")
    assert (view.events, view.labels) == (["api_key.*", "worker.*"], [])
    assert "192.0.2.7:443" in text_of(await browser.get("/event-destinations"))


async def test_a_destination_is_changed_paused_resumed_and_deleted(server, browser):
    """Each step says what it did, and a field that is not touched stays."""
    await browser.post("/add-event-destination", **FORM)
    seen = the(r'name="seen" value="([^"]+)"', await browser.get(ONE))

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


async def test_a_secret_is_rotated_once_by_one_form(server, browser):
    """Sent again, the form makes no third secret: the receiver would have neither of those that sign."""
    await browser.post("/add-event-destination", **FORM)
    before = the(r'name="before" value="([0-9a-f]{64})"', await browser.get(ONE))

    shown = await browser.post(f"{ONE}/secret", before=before)

    assert "whsec_" in shown.text
    view = await server.services.event_destination_queries.get("siem")
    assert view.previous_secret_until == server.clock() + timedelta(hours=24)
    again = await browser.post(f"{ONE}/secret", before=before)
    assert (again.status_code, "whsec_" in again.text) == (409, False)


async def test_a_test_says_what_came_of_it(browser):
    """What stands in the way, at the page."""
    await browser.post("/add-event-destination", **(FORM | {"url": "https://127.0.0.1/"}))

    await browser.post(f"{ONE}/test")

    assert "Not delivered: 127.0.0.1:443 is an internal address" in text_of(await browser.get(ONE))


async def test_a_destination_that_is_down_shows_what_waits_and_when_it_is_tried_again(server, browser):
    """How many, from which event to which, of which types, the next ones, why, and when: nothing must be looked up elsewhere."""
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
async def test_a_form_without_a_filter_is_refused(browser, missing):
    """A field that is missing would read as no filter, and let everything through."""
    form = {name: value for name, value in FORM.items() if name != missing}

    assert (await browser.post("/add-event-destination", **form)).status_code == 422


async def test_a_viewer_is_not_shown_destinations(viewer):
    """Neither the pages nor the way there."""
    assert "/event-destinations" not in (await viewer.get("/audit")).text
    assert (await viewer.get("/event-destinations")).status_code == 403


@pytest.fixture(autouse=True)
def _only_when_told(monkeypatch):
    """Let the Server deliver nothing by itself: an attempt would change what a test has set."""
    monkeypatch.setattr(background, "_DELIVER_EVERY_S", 86_400.0)


async def rejected(server, number=None):
    """Add a destination whose receiver has rejected the first event that waits three times; return its number."""
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


async def test_an_event_is_seen_before_it_is_skipped(server, browser):
    """What it is, how often it was rejected and with which answer; then it alone is skipped, and the page says so."""
    await browser.post("/add-event-destination", **(FORM | {"url": "https://127.0.0.1/"}))
    await browser.post("/add-worker", name="press <b>1</b>", **{"with": "own"})
    queue = (await server.services.event_destination_queries.get("siem")).queue
    number = await rejected(server, queue.first)
    assert f"siem rejects event {number}." in text_of(await browser.get(ONE))

    asked = await browser.get(f"{ONE}/skip")

    found = text_of(asked)
    assert f"Skip event {number} for siem?" in found
    assert "Did worker. created" in found
    assert "press <b>1</b>" not in asked.text
    assert "Rejected 3 times since" in found
    assert "Answer 192.0.2.7:443 answered 403." in found
    assert the(r'name="number" value="(\d+)"', asked) == str(number)
    again = await browser.post(f"{ONE}/skip", number=str(number), reason="")
    assert again.status_code == 422
    done = await browser.post(f"{ONE}/skip", number=str(number), reason="its text")
    assert (done.status_code, done.headers["location"]) == (303, ONE)
    assert f"Event {number} was skipped." in text_of(await browser.get(ONE))
    view = await server.services.event_destination_queries.get("siem")
    assert (view.skipped, view.through, view.rejected) == (1, number, None)


@pytest.mark.parametrize("number", ["", "0", "-1", "1e3", "9" * 30, "\u0661"])
async def test_a_form_that_names_no_event_skips_none(server, browser, number):
    """Never the one that happens to be first."""
    await browser.post("/add-event-destination", **(FORM | {"events": "", "url": "https://127.0.0.1/"}))
    await rejected(server)

    answer = await browser.post(f"{ONE}/skip", number=number, reason="its text")

    assert answer.status_code in {409, 422}
    assert (await server.services.event_destination_queries.get("siem")).skipped == 0


async def test_a_page_that_has_stood_open_skips_nothing(server, browser):
    """The event that it showed was delivered meanwhile, and another one holds up the others now."""
    await browser.post("/add-event-destination", **(FORM | {"events": "", "url": "https://127.0.0.1/"}))
    await browser.post("/add-worker", name="press-1", **{"with": "own"})
    first = await rejected(server)
    await rejected(server, first + 1)

    answer = await browser.post(f"{ONE}/skip", number=str(first), reason="its text")

    assert answer.status_code == 409
    assert "does not wait for siem any more" in text_of(answer)
    assert (await server.services.event_destination_queries.get("siem")).skipped == 0
