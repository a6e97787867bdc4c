"""Disabled Workers in the pages: the note, and when the Server enables them."""

import html

from tests.unit.web.conftest import the

NOTE = "its <disk> is replaced"


async def test_a_worker_is_disabled_with_a_note_and_an_end(browser, viewer, press):
    """Both are in the list, on its page and with a refusal, for everyone who may read; escaped."""
    done = await browser.post("/workers/press-01/disable", note=NOTE, until="2h")
    assert done.headers["location"] == "/workers/press-01"

    for window in (browser, viewer):
        page = await window.get("/workers/press-01")
        assert "Disabled until" in page.text
        assert "2026-03-01 14:00 UTC" in page.text
        for path in ("/workers/press-01", "/workers"):
            text = (await window.get(path)).text
            assert NOTE not in text
            assert NOTE in html.unescape(text)
            assert "2026-03-01 14:00" in text


async def test_a_refusal_shows_the_note_if_the_caller_has_proved_its_key(server, browser, press):
    """Who knows the ID alone is not the Worker that the note is about."""
    await browser.post("/workers/press-01/disable", note="ask Ann", until="")
    proved = (await server.token_by_key(*press)).json()["reference"]
    guessed = (await server.token_by_key("press-01", "wrong")).json()["reference"]

    assert "ask Ann" in (await browser.get(f"/refusals/{proved}")).text
    assert "ask Ann" not in (await browser.get(f"/refusals/{guessed}")).text


async def test_note_and_end_are_changed_while_it_stays_disabled(server, browser, press):
    """The form has what holds now; emptied, it is taken away."""
    await browser.post("/workers/press-01/disable", note="disk", until="2h")
    form = await browser.get("/workers/press-01/disable")
    assert the(r'name="note"[^>]* value="([^"]*)"', form) == "disk"
    assert the(r'name="until"[^>]* value="([^"]*)"', form) == "2026-03-01T14:00:00Z"
    assert ">Save</button>" in form.text

    await browser.post("/workers/press-01/disable", note="disk and fan", until="")

    record = server.services.directory.find_worker("press-01")
    assert (record.enabled, record.disabled_note, record.disabled_until) == (False, "disk and fan", None)


async def test_an_end_that_cannot_be_meant_keeps_what_was_typed(server, browser, press):
    """And the Worker is not disabled."""
    page = await browser.post("/workers/press-01/disable", note="disk", until="soon")

    assert page.status_code == 422
    assert 'value="soon"' in page.text
    assert 'value="disk"' in page.text
    assert server.services.directory.find_worker("press-01").enabled
