"""Snoozing on the pages: the form, what the overview shows, and who may do it."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from tests.unit.server.admin.test_refusal_inbox import refuse
from tests.unit.web.conftest import get_match
from tests.unit.web.test_pages import ACTOR, text_of

from lyftdata.core.identity_keys import generate_identity_key
from lyftdata.core.records import EnrollmentMode
from lyftdata.server.admin.enrollment_keys import EnrollmentKeyRules
from lyftdata.web.pages.snoozes import _span

NOTE = "waits for <b>rack 7</b>"


@pytest.fixture
async def path(server, browser):
    """Return the path that snoozes the only alert: a Worker waits for approval."""
    rules = EnrollmentKeyRules(mode=EnrollmentMode.APPROVE)
    issued = await server.services.enrollment_keys.issue("etl-hosts", rules, actor=ACTOR)
    key = generate_identity_key()
    proof = server.proof(key, "etl-1", secret=issued.text.reveal())
    assert (await server.register(key, "etl-1", credential=proof)).status_code == 201
    return get_match(r'href="(/alerts/[0-9a-f]{12}/snooze)"', await browser.get("/"))


async def test_an_alert_is_snoozed_by_its_button(browser, viewer, path):
    """
    It moves from *Needs you* to a list below, for everyone, with the end, by whom and why; only an admin can end the snooze.
    """
    asked = text_of(await browser.get(path))
    assert "1 Worker waits for approval" in asked
    assert "as soon as it gets worse" in asked

    done = await browser.post(path, **{"for": "7d", "note": NOTE})

    assert (done.status_code, done.headers["location"]) == (303, "/")
    end = path.replace("/snooze", "/unsnooze")
    for reader, may in ((browser, True), (viewer, False)):
        page = await reader.get("/")
        shown = text_of(page)
        assert "1 snoozed" in shown
        assert "Snoozed until 2026-03-08 12:00 UTC (in 7 days) by admin: waits for" in shown
        assert "<b>rack 7</b>" not in page.text
        assert path not in page.text
        assert (end in page.text) is may
    assert (await viewer.post(end)).status_code == 403
    assert (await browser.post(end)).headers["location"] == "/"
    assert "1 snoozed" not in text_of(await browser.get("/"))
    assert path in (await browser.get("/")).text


async def test_refusals_that_can_be_ignored_cannot_be_snoozed(server, browser, press):
    """There is only one button to postpone them."""
    await refuse(server)

    page = await browser.get("/")

    assert 'href="/ignore-refusals?' in page.text
    assert "/snooze" not in page.text


async def test_an_invalid_snooze_form_is_shown_again(browser, path):
    """For a duration that is not offered, and for a note that is too long."""
    for fields in ({"for": "9999d"}, {"for": "1h", "note": "n" * 201}):
        answer = await browser.post(path, **fields)
        assert answer.status_code == 422
        assert "Snooze this?" in answer.text


async def test_an_alert_that_has_ended_cannot_be_snoozed(browser, viewer, path):
    """It is not found; viewers cannot open the form."""
    assert (await browser.get("/alerts/000000000000/snooze")).status_code == 404
    assert (await viewer.get(path)).status_code == 403
    assert (await viewer.post(path, **{"for": "1h"})).status_code == 403


@pytest.mark.parametrize(
    ("now", "until"),
    [
        (datetime(2026, 3, 1, 12, tzinfo=UTC), datetime(2026, 3, 2, 8, tzinfo=UTC)),
        (datetime(2026, 3, 1, 0, 30, tzinfo=UTC), datetime(2026, 3, 2, 8, tzinfo=UTC)),
        # The clocks go forward that night.
        (
            datetime(2026, 3, 28, 20, tzinfo=ZoneInfo("Europe/Berlin")),
            datetime(2026, 3, 29, 6, tzinfo=UTC),
        ),
    ],
)
def test_tomorrow_is_the_next_morning_in_the_operators_zone(now, until):
    """At 08:00 local time."""
    assert now.astimezone(UTC) + _span("tomorrow", now) == until
    assert _span("1h", now) == timedelta(hours=1)
