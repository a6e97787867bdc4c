"""Disabled Workers on the pages: the note, and when the Server enables them."""

import html
from datetime import timedelta
from urllib.parse import parse_qs, urlsplit

import pytest
from tests.builders import NOON
from tests.unit.web.conftest import get_match
from tests.unit.web.pages.test_workers_all_that_match import add, hidden_fields
from tests.unit.web.test_pages import text_of

NOTE = "its <disk> is replaced"


async def test_a_worker_is_disabled_with_a_note_and_an_end(browser, viewer, press):
    """Both are shown, escaped, in the list and on its page to every operator who may read it."""
    done = await browser.post("/workers/press-01/disable", note=NOTE, until="2h")
    assert done.headers["location"] == "/workers/press-01"

    for window in (browser, viewer):
        page = await window.get("/workers/press-01")
        assert "Disabled until" in page.text
        assert "2026-03-01 14:00 UTC" in page.text
        assert "disabled</span></p>" in page.text
        for path in ("/workers/press-01", "/workers"):
            text = (await window.get(path)).text
            assert NOTE not in text
            assert NOTE in html.unescape(text)
            assert "2026-03-01 14:00" in text


async def test_a_refusal_shows_the_note_only_if_the_key_was_proved(server, browser, press):
    """A caller that only knows the ID is not the Worker that the note is about."""
    await browser.post("/workers/press-01/disable", note="ask Ann", until="")
    proved = (await server.token_by_key(*press)).json()["reference"]
    guessed = (await server.token_by_key("press-01", "wrong")).json()["reference"]

    assert "ask Ann" in (await browser.get(f"/refusals/{proved}")).text
    assert "ask Ann" not in (await browser.get(f"/refusals/{guessed}")).text


async def test_the_note_and_the_end_can_be_changed_while_disabled(server, browser, press):
    """The form has the current values; an emptied one is removed."""
    await browser.post("/workers/press-01/disable", note="disk", until="2h")
    form = await browser.get("/workers/press-01/disable")
    assert get_match(r'name="note"[^>]* value="([^"]*)"', form) == "disk"
    assert get_match(r'name="until"[^>]* value="([^"]*)"', form) == "2026-03-01T14:00:00Z"
    assert ">Save</button>" in form.text

    await browser.post("/workers/press-01/disable", note="disk and fan", until="")

    record = server.services.directory.find_worker("press-01")
    assert (record.enabled, record.disabled_note, record.disabled_until) == (False, "disk and fan", None)


async def test_an_invalid_end_keeps_the_typed_values(server, browser, press):
    """The Worker is not disabled."""
    page = await browser.post("/workers/press-01/disable", note="disk", until="soon")

    assert page.status_code == 422
    assert 'value="soon"' in page.text
    assert 'value="disk"' in page.text
    assert server.services.directory.find_worker("press-01").enabled


def ticked(form):
    """Return the fields of the ticked Workers, unless the form is for all that match a search."""
    return {} if "all" in form else {"id": ["w-1", "w-2"]}


def states(server):
    """Return each Worker's state: enabled, note and end."""
    return {
        entry.id: (entry.enabled, entry.disabled_note, entry.disabled_until)
        for entry in server.services.directory.workers()
    }


@pytest.mark.parametrize("chosen", ["all=yes&q=id%3Aw-", "id=w-1&id=w-2"])
async def test_many_workers_are_disabled_with_a_note_and_an_end(server, browser, chosen):
    """
    Ticked ones, or all that match a search; the page says that Workers that are already disabled keep their note and a later end.
    """
    await add(server, "w-1", "w-2")
    await browser.post("/workers/w-2/disable", note="quarantined", until="")
    asked = await browser.get(f"/change-workers?action=disable&{chosen}")
    assert "1 Worker is disabled already, and keeps its note. The later end holds" in text_of(asked)
    form = hidden_fields(asked) | {"note": NOTE, "until": "2h"}

    await browser.post("/workers", **form | ticked(form))

    assert states(server) == {
        "w-1": (False, NOTE, NOON + timedelta(hours=2)),
        "w-2": (False, "quarantined", None),
    }


@pytest.mark.parametrize("chosen", ["all=yes&q=id%3Aw-", "id=w-1&id=w-2"])
async def test_an_invalid_end_for_many_workers_is_shown_at_its_field(server, browser, chosen):
    """The typed values and the same Workers are kept; nothing is changed, and Back leads to the confirmation."""
    await add(server, "w-1", "w-2")
    path = f"/change-workers?action=disable&{chosen}"
    form = hidden_fields(await browser.get(path)) | {"note": "disk", "until": "soon"}
    before = states(server)

    again = await browser.post("/workers", **form | ticked(form))

    assert (again.status_code, states(server)) == (422, before)
    assert "Disable 2 Workers?" in text_of(again)
    assert (
        'value="soon" placeholder="2h, 3d or 2026-03-01T12:00Z" id="field-until" aria-invalid="true"'
        in again.text
    )
    assert 'value="disk"' in again.text
    back = html.unescape(get_match(r'data-instead="([^"]*)"', again))
    assert parse_qs(urlsplit(back).query) == parse_qs(urlsplit(path).query)
    await browser.post("/workers", **hidden_fields(again) | ticked(form) | {"until": "2h"})
    assert {enabled for enabled, _, _ in states(server).values()} == {False}
