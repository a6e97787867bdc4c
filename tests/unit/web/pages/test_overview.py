"""The overview page, without a browser: what it says of an empty Server, of an outage, of refusals and of rotations."""

import html
import re

import pytest
from tests.deployment import PASSWORD
from tests.fleets import add_past, connect
from tests.unit.web.conftest import signed_in

OWN = "xxx " + PASSWORD


def text_of(answer):
    """Return what a page shows, without tags."""
    assert answer.status_code == 200, answer.text
    return html.unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", answer.text)))


async def browser_at(server):
    """Return the browser of an admin who has a password of their own."""
    headers = await server.sign_in()
    body = {"current_password": PASSWORD, "new_password": OWN}
    await server.http.post("/api/me/password", json=body, headers=headers)
    return await signed_in(server, "admin", OWN)


async def test_an_empty_server_shows_how_to_begin(server, browser, viewer):
    """Its address, the two ways in and what comes next; a viewer is offered no button, and plots of nothing are left out."""
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
async def test_an_outage_is_the_first_thing_on_the_page(opened):
    """How many, since when, what they share, and a link to exactly them; the bar, the title and the feed say the same."""
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
    """The verdict and its button are about the one Worker."""
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


async def test_rotations_show_who_lags_in_one_step(server, browser):
    """How far each is, until when the old key works, and a link to the Workers that still use it."""
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
    assert "0 of 1 Worker on the new key" in text_of(page)
    [path] = re.findall(r'href="(/api-keys/press-keys#old-[0-9A-Za-z]+)">1 Worker lags<', page.text)
    target = await browser.get(path)
    assert f'id="{path.partition("#")[2]}"' in target.text
    assert "press-01" in target.text


async def test_refusals_have_one_line_for_each_cause(server, browser):
    """Several Workers with the same fault are one thing to do; the line leads to all of them."""
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
