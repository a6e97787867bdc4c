"""The subject of a refusal is stored in fields, which become the buttons and links of its page."""

import html
import re
from datetime import timedelta

import pytest
from tests.deployment import PASSWORD
from tests.unit.web.conftest import get_match
from tests.unit.web.test_pages import text_of

from lyftdata.core.identity_keys import generate_identity_key
from lyftdata.core.records import RefusalAttempt
from lyftdata.store.tables import refusals


def buttons(page):
    """Return the paths of the buttons of a refusal's page by their text."""
    found = re.findall(r'<a class="button[^"]*" href="([^"]+)">([^<]+)</a>', page.text)
    return {html.unescape(text): html.unescape(path) for path, text in found}


async def name_in_use(server, browser, holder):
    """Try to enroll a Worker under a name that an operator has given to another; return the refusal's reference."""
    await browser.post("/add-worker", name="scaler", id=holder, **{"with": "own"})
    key = generate_identity_key()
    proof = server.proof(key, "scaler", audience=server.services.issuer)
    answer = await server.register(key, "scaler", credential=proof)
    return answer.json()["reference"]


@pytest.mark.parametrize("holder", ["w-1", "w-1.", "a.b-", "w" * 64])
async def test_a_name_in_use_links_to_its_holder(server, browser, holder):
    """Whatever the holder's ID ends with."""
    reference = await name_in_use(server, browser, holder)

    page = await browser.get(f"/refusals/{reference}")

    assert buttons(page)[f"Open Worker {holder}"] == f"/workers/{holder}"
    assert f"Held by scaler {holder}" in text_of(page)
    await server.services.refusals.flush()
    assert f"Open Worker {holder}" in buttons(await browser.get(f"/refusals/{reference}"))


async def test_a_superseded_worker_links_to_the_one_that_has_its_name(server, browser):
    """The refusal links to both entries."""
    worker_id, key = await server.enrolled("scaler")
    newer, _ = await server.enrolled("scaler")
    answer = await server.register(
        key, "scaler", credential=server.proof(key, "scaler", audience=server.services.issuer)
    )

    page = await browser.get(f"/refusals/{answer.json()['reference']}")

    assert {f"Open Worker {worker_id}", f"Open Worker {newer}"} <= set(buttons(page))
    assert f"Superseded by scaler {newer}" in text_of(page)


async def test_a_deleted_holder_has_no_button(server, browser):
    """The page still says which Worker held the name at that time."""
    reference = await name_in_use(server, browser, "w-1")
    await browser.post("/workers/w-1/delete")

    page = await browser.get(f"/refusals/{reference}")

    assert "Open Worker w-1" not in buttons(page)
    assert "Held by w-1." in text_of(page)


async def test_a_refusal_without_the_fields_is_still_shown(server, browser):
    """An older row that has only the sentence is shown without buttons, which are never guessed from the text."""
    reference = await name_in_use(server, browser, "w-1")
    await server.services.refusals.flush()
    from sqlalchemy import text

    await server.services.store.write(
        lambda tx: tx.conn.execute(text("update refusal_attempts set other_worker = '', api_key = ''"))
    )

    page = await browser.get(f"/refusals/{reference}")

    assert (page.status_code, "Held by w-1." in text_of(page)) == (200, True)
    stored = await server.services.store.read(lambda conn: refusals.find_reference(conn, reference))
    assert stored.other_worker == ""


async def test_a_refusal_links_to_its_api_key(server, browser, press):
    """The key is named by a field; after a rotation the cause is not that the key has expired."""
    await browser.post("/issue-api-key", name="other-keys", **{"for": "chosen", "workers": "press-01"})
    rotate = "/api-keys/other-keys/rotate"
    rotated = await browser.post_shown(rotate, rotate, grace="1h")
    first = get_match(r"lyftdata_[0-9A-Za-z]{10}_[0-9A-Za-z]{38}", rotated)
    server.clock.forward(minutes=5)
    await browser.post_shown(rotate, rotate, grace="0s")

    answer = await server.token_by_key("press-01", first)

    page = await browser.get(f"/refusals/{answer.json()['reference']}")
    message = text_of(page)
    assert "API key rotated" in message
    assert "expired" not in message
    assert 'href="/api-keys/other-keys"' in page.text
    assert f"stopped working at {server.clock():%Y-%m-%d %H:%M:%S} UTC" in message


async def test_a_rotated_key_keeps_when_and_by_whom_it_was_created(server, browser, press):
    """*Created* is about the first generation, *Rotated* about the newest one."""
    await browser.post("/issue-api-key", name="press-keys", **{"for": "all"})
    server.clock.forward(days=3)
    rotate = "/api-keys/press-keys/rotate"
    await browser.sign_in("admin", "xxx " + PASSWORD)
    await browser.learn_token()
    made = text_of(await browser.post_shown(rotate, rotate, grace="1h"))

    page = text_of(await browser.get("/api-keys/press-keys"))

    until = server.clock() + timedelta(hours=1)
    assert f"The previous one works until {until:%Y-%m-%d %H:%M} UTC (in 1 hour)." in made
    assert f"works until {until:%Y-%m-%d %H:%M} UTC (in 1 hour)" in page
    assert "Created 3 days ago 1 Mar 12:00 by admin Rotated just now 12:00:00 by admin" in page


async def test_refusals_are_open_ignored_or_solved(server, browser, viewer, press):
    """Grouped by cause with counts. Ignoring has an end and a note; solved ones are detected by the Server."""
    for worker_id in ("press-01", "press-99"):
        await server.token_by_key(worker_id, "nonsense")
    page = await browser.get("/refusals")
    assert "Open 2 Ignored 0 Solved 0" in text_of(page)
    assert "Malformed API key 2 callers, 2 refusals" in text_of(page)
    seen = await viewer.get("/refusals")
    assert "Ignore…" not in seen.text
    for shown in (page, seen):
        # Each row's link has its own text, and not only a Worker's name.
        assert shown.text.count(">What to do<") == 2

    path = html.unescape(
        get_match(r'href="(/ignore-refusals\?code=malformed_api_key&amp;subject=worker[^"]+)"', page)
    )
    assert "They are still refused, counted and logged" in text_of(await browser.get(path))
    wrong = await browser.post(
        "/ignore-refusals", code="malformed_api_key", subject="worker:press-01", **{"for": "91d"}
    )
    assert (wrong.status_code, "must be at most 90d" in text_of(wrong)) == (422, True)
    await browser.post(
        "/ignore-refusals",
        code="malformed_api_key",
        subject="worker:press-01",
        note="<b>known",
        **{"for": "8h"},
    )
    assert "Open 1 Ignored 1 Solved 0" in text_of(await browser.get("/refusals"))
    ignored = await browser.get("/refusals?state=ignored")
    assert "(in 8 hours) by admin: <b>known" in text_of(ignored)
    assert "<b>known" not in ignored.text

    server.clock.forward(seconds=1)
    await server.token_by_key(*press)
    assert "press-01" in text_of(await browser.get("/refusals?state=solved"))
    assert (await browser.get("/refusals?state=bogus")).status_code == 422


async def test_many_callers_of_one_cause_hide_no_other_cause(server, browser):
    """After a cut-off of a thousand Workers, an earlier cause is still on the page, and all numbers count every caller."""

    def attempt(number, code, at):
        """Return an attempt by a caller with a unique name."""
        return RefusalAttempt(
            reference=f"R{number:07}",
            at=at,
            address=f"198.51.{number // 250}.{number % 250}",
            claimed_worker=f"ghost-{number}",
            code=code,
            detail="",
            proved=False,
        )

    before, now = server.clock() - timedelta(seconds=2), server.clock()
    attempts = [attempt(2_000, "malformed_api_key", before)]
    attempts += [attempt(number, "unknown_worker", now) for number in range(1_000)]
    await server.services.store.write(lambda tx: refusals.record_refusals(tx, attempts))

    page = await browser.get("/refusals")
    every = await browser.get("/refusals?code=unknown_worker")

    assert "Open 1,001 Ignored 0" in text_of(page)
    assert "Unknown Worker 1,000 callers, 1,000 refusals" in text_of(page)
    assert "Malformed API key 1 caller, 1 refusal" in text_of(page)
    assert "Ignore 200 of them…" in page.text
    assert page.text.count(">What to do<") == 20 + 1
    assert '/refusals?code=unknown_worker">Show more of 1,000<' in page.text
    assert every.text.count(">What to do<") == 500
    assert "The first 500. Narrow the search to see others." in text_of(every)


async def test_an_ignored_refusal_can_be_reopened(server, browser, press):
    """From the list of ignored ones."""
    await server.token_by_key("press-01", "nonsense")
    case = {"code": "malformed_api_key", "subject": "worker:press-01"}
    await browser.post("/ignore-refusals", **case, **{"for": "8h"})
    await browser.post("/reopen-refusals", **case)
    assert "Open 1 Ignored 0 Solved 0" in text_of(await browser.get("/refusals"))
