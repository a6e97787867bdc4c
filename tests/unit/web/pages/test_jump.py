"""The jump box: what a text leads to, for which operators, and what it never sends."""

import re

from tests.builders import worker
from tests.deployment import PASSWORD
from tests.unit.web.conftest import get_match
from tests.unit.web.test_pages import text_of

from lyftdata.store.tables import workers
from lyftdata.web.jump_places import ACTIONS, PAGES, find_places
from lyftdata.web.routes import PAGES as ROUTES

PART = {"HX-Request": "true"}


def targets(answer):
    """Return the links of an answer's options, in order."""
    return re.findall(r'role="option" id="jump-\d+" href="([^"]+)"', answer.text)


async def add(server, *records):
    """Add Worker entries."""

    def op(tx):
        for record in records:
            workers.insert_worker(tx, record, unique_name=False)

    await server.services.store.write(op)


def test_every_jump_target_is_a_page_with_the_same_action():
    """A page that is renamed, or that needs another permission, would otherwise be a dead link."""
    rules = {entry.path: entry.action for entry in ROUTES if entry.method == "GET"}
    for place in (*PAGES, *ACTIONS):
        assert rules.get(place.path) == place.action, place.title


def test_pages_are_found_by_prefixes_of_their_words():
    """Each typed word must begin a word of the page's; pages that the operator may not open are left out."""

    def found(text, *denied):
        return [p.title for p in find_places([*PAGES, *ACTIONS], text, is_allowed=lambda a: a not in denied)]

    assert found("audi") == ["Resources", "Audit", "Add a resource"]
    assert found("rotate") == ["Auto-Enrollment", "API keys", "Rotate the signing key"]
    assert found("rot sig") == ["Rotate the signing key"]
    assert found("new wor") == ["New Worker"]
    assert found("new wor", "workers.write") == []
    assert found("webhook") == ["Event destinations", "Add an event destination"]
    assert found("xyz") == []


async def test_workers_are_found_as_in_the_list(server, browser):
    """The Worker with exactly this name comes first, then all matches, then the first few; a label leads to its Workers."""
    await add(
        server,
        worker("press-1", labels={"line": "north"}),
        *(worker(f"press-1{n}", labels={"line": "north"}) for n in range(8)),
    )
    found = targets(await browser.get("/jump?q=press-1", headers=PART))
    assert found[:3] == ["/workers/press-1", "/workers?q=press-1", "/workers/press-10"]
    assert len([path for path in found if path.startswith("/workers/")]) == 6
    assert targets(await browser.get("/jump?q=id:%3Dpress-12", headers=PART)) == ["/workers/press-12"]
    north = targets(await browser.get("/jump?q=nort", headers=PART))
    assert (north[0], north[7]) == ("/workers?q=nort", "/workers?q=line%3Dnorth")
    page = await browser.get("/jump?q=press-13")
    assert '<a href="/workers/press-13">' in page.text
    assert "Nothing found." in text_of(await browser.get("/jump?q=nowhere"))


async def test_keys_references_and_pages_are_found(server, browser):
    """An exact name comes before Workers whose names contain it; an empty text lists all pages and actions."""
    admin = await server.sign_in(password="xxx " + PASSWORD)
    await server.http.post("/api/api-keys", json={"name": "press-keys"}, headers=admin)
    refused = await server.token_by_key("nobody", "wrong")
    reference = get_match(r"[0-9A-HJKMNP-TV-Z]{8}", refused)

    await add(server, *(worker(f"press-keys-{n}") for n in range(3)))
    assert targets(await browser.get("/jump?q=press-keys", headers=PART))[:2] == [
        "/api-keys/press-keys",
        "/workers?q=press-keys",
    ]
    assert "/api-keys/press-keys" in targets(await browser.get("/jump?q=press", headers=PART))
    assert "/enrollment/startup" not in targets(await browser.get("/jump?q=press", headers=PART))
    assert targets(await browser.get(f"/jump?q={reference.lower()}", headers=PART)) == [
        f"/refusals/{reference}"
    ]
    everything = targets(await browser.get("/jump", headers=PART))
    assert everything == [place.path for place in (*PAGES, *ACTIONS)]


async def test_a_viewer_is_shown_only_what_a_viewer_may_do(viewer):
    """No action that changes something, and no page that is only for admins."""
    found = targets(await viewer.get("/jump", headers=PART))
    allowed = {place.path for place in PAGES} - {"/event-destinations"} | {"/account/password"}
    assert set(found) == allowed


async def test_a_pasted_key_is_neither_searched_for_nor_shown(server, browser):
    """Without scripts it was sent: the answer does not repeat it, but links to the Incident page."""
    made = await browser.post("/add-worker", name="p", id="p", **{"with": "own"})
    key = get_match(r"lyftdata_[0-9A-Za-z]{10}_[0-9A-Za-z]{38}", made)

    page = await browser.get("/jump", params={"q": key})

    assert "The Incident page finds who has used it" in text_of(page)
    assert key not in page.text


async def test_an_invalid_search_says_so(browser):
    """It suggests a correction; hostile text stays text."""
    answer = await browser.get("/jump", params={"q": "hsot:<b>"}, headers=PART)
    assert "Did you mean" in text_of(answer)
    assert "<b>" not in answer.text
