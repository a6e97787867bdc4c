"""The page of the audit log: by operator, day, kind and subject; exports; labels in words."""

import html
import re

import pytest
from tests.deployment import PASSWORD
from tests.unit.web.conftest import get_match


def rows(page):
    """Return the listed events as operator, action and subject, the latest first."""
    assert page.status_code == 200, page.text
    found = re.findall(
        r'data-label="By">.*?>([^<]*)</a></td><th[^>]*><a[^>]*>([^<]*)</a></th><td[^>]*><a[^>]*>([^<]*)</a>',
        page.text.replace("<wbr>", ""),
    )
    return [tuple(html.unescape(part) for part in row) for row in found]


@pytest.fixture
async def yesterday(server, browser):
    """Add and label a Worker on one day and disable it on the next; return when the second day began."""
    server.clock.now = server.clock.now.replace(hour=23, minute=59, second=59)
    # The morning's session has expired.
    await browser.sign_in("admin", "xxx " + PASSWORD)
    await browser.learn_token()
    await browser.post(
        "/add-worker", name="press-01", id="press-01", labels="owner=ann,rack=6", **{"with": "own"}
    )
    seen = get_match(r'name="seen" value="([^"]+)"', await browser.get("/workers/press-01"))
    await browser.post("/workers/press-01", name="press-01", labels="rack=7,gpu", seen=html.unescape(seen))
    server.clock.forward(seconds=1)
    midnight = server.clock.now
    await browser.post("/workers/press-01/disable")
    return midnight


async def test_the_log_can_be_filtered_by_operator_and_day(server, browser, yesterday):
    """A UTC day begins with its first second and ends before the next day's."""
    first_day = (yesterday.replace(day=yesterday.day - 1) if yesterday.day > 1 else yesterday).strftime(
        "%Y-%m-%d"
    )
    listed = rows(await browser.get("/audit?actor=admin&when=yesterday&action=worker.*"))
    assert [what for _, what, _ in listed] == ["worker.labelled", "worker.created"]
    assert {who for who, _, _ in listed} == {"admin"}
    today = rows(await browser.get("/audit?when=today&action=worker.*"))
    assert today == [("admin", "worker.disabled", "worker:press-01")]
    days = rows(await browser.get("/audit?when=7d&action=worker.*"))
    assert days == today + listed
    assert rows(await browser.get(f"/audit?from={first_day}&to={first_day}&action=worker.*")) == listed
    assert rows(await browser.get("/audit?actor=vera&when=yesterday")) == []


async def test_kinds_of_events_are_offered_from_the_log(browser, yesterday):
    """With a wildcard for each kind, which matches a prefix; no other character is a wildcard."""
    page = await browser.get("/audit?action=worker.dis*")
    assert "<option>worker.*</option>" in page.text
    assert "<option>worker.disabled</option>" in page.text
    assert "<option selected>worker.dis*</option>" in page.text
    assert rows(page) == [("admin", "worker.disabled", "worker:press-01")]
    for text in ("worker.%", "worker_disabled", "worker.d_sabled"):
        assert rows(await browser.get(f"/audit?action={text}")) == []


async def test_a_change_of_labels_is_shown_as_a_difference(browser, yesterday):
    """What was added and what was removed, instead of the resulting labels."""
    page = await browser.get("/audit?action=worker.labelled")
    assert "+gpu +rack=7 \N{MINUS SIGN}owner=ann \N{MINUS SIGN}rack=6" in html.unescape(page.text)


async def test_an_export_has_only_the_filtered_events(browser, yesterday):
    """The links carry the filter; the signed export always has the whole log, and a filter is an error."""
    page = await browser.get("/audit?actor=admin&action=worker.disabled")
    path = html.unescape(get_match(r'href="(/audit/export\?format=jsonl[^"]*)"', page))
    exported = (await browser.get(path)).text.splitlines()
    assert len(exported) == 1
    assert '"worker.disabled"' in exported[0]
    everything = (await browser.get("/audit/export?format=jsonl")).text.splitlines()
    assert len(everything) > 3
    assert 'href="/audit/export?format=signed"' in page.text
    refused = await browser.get("/audit/export?format=signed&action=worker.disabled")
    assert refused.status_code == 422


@pytest.mark.parametrize("query", ["when=tomorrow", "from=yesterday", "to=2026-13-01", "from=2026-3-1x"])
async def test_a_mistyped_day_is_rejected(browser, query):
    """It must not show the whole log as if it were one day."""
    assert (await browser.get(f"/audit?{query}")).status_code == 422
