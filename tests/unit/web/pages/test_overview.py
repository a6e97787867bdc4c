"""The overview page without a browser: an empty Server, an outage, refusals and rotations."""

import html
import re

import pytest
from tests.deployment import PASSWORD
from tests.fleets import add_past, connect
from tests.unit.web.conftest import get_match, signed_in

OWN = "xxx " + PASSWORD
KEY = r"lyftdata_[0-9A-Za-z]{10}_[0-9A-Za-z]{38}"


def text_of(answer):
    """Return a page's text without markup."""
    assert answer.status_code == 200, answer.text
    return html.unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", answer.text)))


async def browser_at(server):
    """Return the browser of an admin who has replaced the first password."""
    headers = await server.sign_in()
    body = {"current_password": PASSWORD, "new_password": OWN}
    await server.http.post("/api/me/password", json=body, headers=headers)
    return await signed_in(server, "admin", OWN)


async def test_an_empty_server_shows_how_to_start(server, browser, viewer):
    """Its URL, both ways to connect a Worker and what comes next; a viewer gets no button, and empty charts are left out."""
    page = await browser.get("/")
    assert "Connect the first Worker" in page.text
    assert server.services.issuer in page.text
    assert 'href="/add-worker">Add a Worker' in page.text
    assert 'class="plot"' not in page.text
    assert "Only this host reaches it" not in page.text
    assert 'href="/add-worker">Add a Worker' not in (await viewer.get("/")).text

    await browser.post("/add-worker", name="press-01", id="press-01", labels="", **{"with": "own"})
    server.clock.forward(seconds=2)
    page = text_of(await browser.get("/"))
    assert "Connect the first Worker" not in page
    assert "1 never connected" in page
    assert " 0 online" not in page


@pytest.mark.usefixtures("unhurried")
async def test_an_outage_is_shown_first(opened):
    """How many Workers, since when, what they share, and a link to exactly them; the bar, the title and the feed agree."""
    lost = range(90, 100)
    async with opened() as server:
        now, clock = server.clock(), server.clock
        browser = await browser_at(server)
        await browser.post("/issue-api-key", name="press-keys", workers="", expires="", **{"for": "all"})
        await server.services.store.write(lambda tx: add_past(tx, range(100), lost=lost, now=now))
        await browser.http.aclose()
    async with opened(clock) as server:
        connect(server.services.sessions, range(90), public_id="AAAAAAAAAA", now=now)
        browser = await signed_in(server, "admin", OWN)
        page = await browser.get("/")
        text = text_of(page)
        assert "(10 lost) Overview" in text
        assert "10 Workers went offline in the last 3 minutes" in text
        assert "All have the label zone=eu-9 and " in text
        assert "100 expected to be connected" in text
        assert "90 online 10 lost in the last hour" in text
        assert "10 Workers lost (zone=eu-9)" in text
        assert 'class="button" href="/workers?q=presence:lost">Show the 10<' in page.text
        listed = text_of(await browser.get("/workers?q=presence:lost"))
        assert "10 Workers of 100 that went offline within the last hour without signing off" in listed
        assert "f 000090" in listed
        assert "f 000089" not in listed
        await browser.http.aclose()


@pytest.mark.usefixtures("unhurried")
async def test_one_lost_worker_is_shown_in_the_singular(opened):
    """In the verdict and on its button."""
    async with opened() as server:
        now, clock = server.clock(), server.clock
        browser = await browser_at(server)
        await browser.post("/issue-api-key", name="press-keys", workers="", expires="", **{"for": "all"})
        await server.services.store.write(lambda tx: add_past(tx, range(2), lost=range(1), now=now))
        await browser.http.aclose()
    async with opened(clock) as server:
        browser = await signed_in(server, "admin", OWN)
        page = await browser.get("/")
        assert "1 Worker went offline" in text_of(page)
        assert 'class="button" href="/workers?q=presence:lost">Show it<' in page.text
        await browser.http.aclose()


async def test_rotations_link_to_the_workers_that_lag(server, browser):
    """With the progress of each, until when the old key works, and the Workers that still use it."""
    shared = await browser.post("/issue-api-key", name="press-keys", workers="", expires="", **{"for": "all"})
    key = re.search(r"lyftdata_[0-9A-Za-z]{10}_[0-9A-Za-z]{38}", shared.text)
    assert key is not None, shared.text
    for number in (1, 2):
        await browser.post(
            "/add-worker", name=f"press-0{number}", id=f"press-0{number}", labels="", **{"with": "own"}
        )
    assert (await server.token_by_key("press-01", key[0])).status_code == 200
    await browser.post_shown("/api-keys/press-keys/rotate", "/api-keys/press-keys/rotate", grace="24h")
    server.clock.forward(seconds=2)
    page = await browser.get("/")
    assert "0 of 1 on the new key" in text_of(page)
    [path] = re.findall(r'href="(/api-keys/press-keys#old-[0-9A-Za-z]+)">1 Worker lags<', page.text)
    target = await browser.get(path)
    assert f'id="{path.partition("#")[2]}"' in target.text
    assert "press-01" in target.text


async def test_refusals_have_one_line_for_each_cause(server, browser):
    """Several Workers with the same problem need one action; the line links to all of them."""
    for number in (1, 2):
        await browser.post(
            "/add-worker", name=f"press-0{number}", id=f"press-0{number}", labels="", **{"with": "own"}
        )
        for _ in range(3):
            await server.token_by_key(f"press-0{number}", "nonsense")
    server.clock.forward(seconds=2)
    page = await browser.get("/")
    assert "Malformed API key: press-01, press-02" in text_of(page)
    assert 'href="/refusals?code=malformed_api_key">Show them' in page.text


async def test_more_than_four_alerts_are_folded(server, browser):
    """Three are shown in full; the others are behind a line with their number and kinds. The heading counts all."""
    for number in (1, 2, 3):
        name = f"press-0{number}"
        await browser.post("/add-worker", name=name, id=name, labels="", **{"with": "own"})
    other = get_match(
        KEY,
        await browser.post("/issue-api-key", name="other", workers="press-03", **{"for": "chosen"}),
    )
    revoked = get_match(
        KEY, await browser.post("/issue-api-key", name="revoked", workers="", **{"for": "all"})
    )
    await browser.post("/api-keys/revoked/revoke")
    wrong = {"press-01": "x", "press-02": other, "press-03": revoked, "press-98": "x", "press-99": other}
    for worker_id, secret in wrong.items():
        for _ in range(3):
            await server.token_by_key(worker_id, secret)
    server.clock.forward(seconds=2)

    page = await browser.get("/")

    assert ">Needs you <small>5</small>" in page.text
    shown, _, rest = page.text.partition('<details class="fold" id="more-alerts" data-kept>')
    folded = rest.partition("</details>")[0]
    assert "<summary><b>2 more</b>: refusals (2)</summary>" in folded
    assert (shown.count("Ignore…"), folded.count("Ignore…")) == (3, 2)


@pytest.fixture
async def ending(server, browser):
    """Return the name of an API key that expires within a week and is used by no Worker."""
    await browser.post("/issue-api-key", name="short", workers="", life="7d", **{"for": "all"})
    server.clock.forward(seconds=2)
    return "short"


async def test_an_expiring_key_is_snoozed_where_it_is_listed(browser, viewer, ending):
    """For every operator, with the end, by whom and why; an admin can end the snooze there, and a viewer has neither button."""
    page = await browser.get("/")
    path = get_match(r'href="(/alerts/[0-9a-f]{12}/snooze)"', page)
    assert path not in (await viewer.get("/")).text
    assert "API key short expires at" in text_of(await browser.get(path))

    await browser.post(path, **{"for": "1h", "note": "waits for Ann"})

    end = path.replace("/snooze", "/unsnooze")
    for reader, may in ((browser, True), (viewer, False)):
        page = await reader.get("/")
        aside = get_match(
            r'<details class="snoozed" id="snoozed-keys" data-kept>(.*?)</details>', page, re.DOTALL
        )
        assert "1 snoozed" in aside
        assert ">short</a>" in aside
        assert "by admin: waits for Ann" in aside
        assert path not in page.text
        assert (end in aside) is may
        assert "Nothing." in text_of(page)
    await browser.post(end)
    page = await browser.get("/")
    assert path in page.text
    assert "snoozed-keys" not in page.text


async def test_a_rotation_is_snoozed_until_it_gets_worse(server, browser):
    """While a Worker still uses the generation that ends; a second such Worker ends the snooze."""
    key = get_match(
        KEY, await browser.post("/issue-api-key", name="press-keys", workers="", **{"for": "all"})
    )
    for number in (1, 2):
        name = f"press-0{number}"
        await browser.post("/add-worker", name=name, id=name, labels="", **{"with": "own"})
    assert (await server.token_by_key("press-01", key)).status_code == 200
    await browser.post_shown("/api-keys/press-keys/rotate", "/api-keys/press-keys/rotate", grace="24h")
    server.clock.forward(seconds=2)
    path = get_match(r'href="(/alerts/[0-9a-f]{12}/snooze)"', await browser.get("/"))
    await browser.post(path, **{"for": "1h", "note": ""})
    page = await browser.get("/")
    assert path not in page.text
    assert "1 snoozed" in text_of(page)
    assert "0 of 1 on the new key" in text_of(page)

    assert (await server.token_by_key("press-02", key)).status_code == 200
    server.clock.forward(seconds=2)

    page = await browser.get("/")
    assert path in page.text
    assert "2 Workers lag" in text_of(page)
    assert "snoozed-keys" not in page.text


async def test_every_key_in_rotation_can_be_reached(server, browser):
    """Two are shown in full, ten are folded, and a link leads to the others."""
    for number in range(14):
        name = f"key-{number:02}"
        await browser.post("/issue-api-key", name=name, workers="", **{"for": "all"})
        await browser.post_shown(f"/api-keys/{name}/rotate", f"/api-keys/{name}/rotate", grace="24h")
    server.clock.forward(seconds=2)

    page = await browser.get("/")

    assert page.text.count('<div class="credential" id="credential-key-') == 12
    assert "<summary>10 more keys</summary>" in page.text
    path = get_match(r'href="([^"]+)">2 more keys are being rotated<', page)
    listed = await browser.get(html.unescape(path))
    assert listed.status_code == 200
    assert "key-13" in listed.text


async def test_a_mass_change_hides_no_other_happening(server, browser):
    """It is one line with the total; its hundred events do not use up the limit of events that are read."""
    given = {"name": "press-[001-100]", "id": "press-[001-100]", "labels": "", "with": "own"}
    added = await browser.post("/add-worker", confirmed="yes", **given)
    server.clock.forward(seconds=120)
    await browser.post(
        "/workers", action="disable", id=[f"press-{n:03}" for n in range(1, 101)], confirmed="yes"
    )
    server.clock.forward(seconds=2)

    page = text_of(await browser.get("/"))
    assert added.status_code in {200, 303}, added.text
    assert "disabled 100 Workers" in page
    assert "added 100 Workers" in page
    assert "issued 100 API keys" in page
    assert "admin set the password of operator admin" in page
