"""The pages of passkeys: registered, signed in with, asked for again, removed."""

import html

import pytest
from tests.authenticator import Authenticator
from tests.deployment import PASSWORD
from tests.unit.web.conftest import FROM_OUR_PAGE, Browser, the

OWN = "xxx " + PASSWORD
SESSION = "__Host-lyftdata"
ADD = "/account/passkeys/add"


def options_of(page):
    """Return what a page asks the browser's authenticator."""
    return html.unescape(the(r'data-options="([^"]+)"', page))


async def register(browser, name="desk", key=None):
    """Register a passkey by the form; return it, and the answer."""
    key = key or Authenticator()
    answer = key.create(options_of(await browser.get(ADD)))
    return key, await browser.post(ADD, name=name, passkey=answer)


async def enter(browser, **fields):
    """Send a form of the second step of a sign-in."""
    return await browser.http.post("/login/second-factor", data=fields, headers=FROM_OUR_PAGE)


@pytest.fixture
async def key(browser):
    """Return the passkey of the admin, registered in the browser, with its recovery codes."""
    made, done = await register(browser)
    assert done.status_code == 200, done.text
    made.codes = the(r"<pre[^>]*>([A-Z2-7\s-]+)</pre>", done).split()
    return made


@pytest.fixture
async def stranger(server):
    """Return a browser in which no operator is signed in."""
    made = Browser(server.from_address("192.0.2.77"))
    yield made
    await made.http.aclose()


async def test_one_is_added_under_a_name(browser, key):
    """The first shows recovery codes; the account says when it was added and used, and a wrong answer asks again with the name kept."""
    assert len(key.codes) == 10
    assert "not used yet" in (await browser.get("/account")).text
    again = await browser.post(ADD, name="other", passkey="{}")
    assert (again.status_code, 'value="other"' in again.text) == (422, True)
    assert "was not made for this page" in again.text
    _, taken = await register(browser, "desk")
    assert (taken.status_code, "another one of your passkeys" in taken.text) == (422, True)
    _, second = await register(browser, "phone")
    assert (second.status_code, second.headers["location"]) == (303, "/account")


async def test_it_signs_in_after_the_password(stranger, key):
    """Nothing is open in between; the page needs no inline script, and says what to do without scripts."""
    asked = await stranger.sign_in("admin", OWN, next="/workers")
    assert "A passkey needs scripts" in asked.text
    assert '<script src="/static/passkey.js' in asked.text
    assert SESSION not in stranger.http.cookies

    answer = await enter(stranger, passkey=key.get(options_of(asked)), next="/workers")

    assert (answer.status_code, answer.headers["location"]) == (303, "/workers")
    page = await stranger.get("/account")
    assert "last used" in page.text


async def test_a_wrong_one_asks_again_with_another_challenge(stranger, key):
    """And with a recovery code the sign-in goes on without a passkey."""
    asked = await stranger.sign_in("admin", OWN)

    again = await enter(stranger, passkey=Authenticator().get(options_of(asked)))

    assert (again.status_code, "The passkey was not accepted" in again.text) == (401, True)
    assert options_of(again) != options_of(asked)
    assert (await enter(stranger, code=key.codes[0])).status_code == 303


async def test_a_request_to_another_host_changes_nothing_of_what_is_asked(server, browser, key):
    """The host of the passkey is that of the public URL; a page of another name is not answered at all."""
    shown = await browser.get(ADD)
    assert '"id": "lyft.example"' in options_of(shown)
    elsewhere = await browser.get(ADD, headers={"Host": "evil.example"})
    assert elsewhere.status_code == 403
    assert "data-options" not in elsewhere.text


async def test_without_the_password_nothing_is_told(stranger, key):
    """Neither which passkeys an operator has, nor that they have any."""
    page = await enter(stranger, passkey="{}")

    assert (page.status_code, "data-options" in page.text) == (401, False)


async def test_confirming_that_it_is_you_takes_a_passkey(server, browser, key):
    """With the password; the password alone confirms nothing."""
    server.clock.forward(minutes=15)
    asked = await browser.get("/account/confirm?next=%2Fissue-api-token")
    alone = await browser.post("/account/confirm", password=OWN, next="/issue-api-token")
    assert alone.status_code == 401

    answer = key.get(options_of(asked))
    done = await browser.post("/account/confirm", password=OWN, passkey=answer, next="/issue-api-token")

    assert (done.status_code, done.headers["location"]) == (303, "/issue-api-token")
    assert (await browser.get("/issue-api-token")).status_code == 200
    server.clock.forward(minutes=15)
    await browser.learn_token()
    replayed = await browser.post("/account/confirm", password=OWN, passkey=answer, next="/issue-api-token")
    assert replayed.status_code == 401


async def test_removing_ones_own_says_what_it_leaves(browser, key):
    """The last one leaves the password alone, and takes the recovery codes along."""
    path = the(r"/account/passkeys/[0-9a-f]{32}/remove", await browser.get("/account"))
    assert "your password alone signs you in then" in (await browser.get(path)).text

    assert (await browser.post(path)).headers["location"] == "/account"

    assert "You have none" in (await browser.get("/account")).text
    assert (await browser.get(path)).status_code == 404
    assert (await browser.post(path)).status_code == 404


async def test_an_admin_removes_anothers(browser, viewer):
    """From the page that resets a second factor; a viewer has one of their own, and removes no one else's."""
    _, done = await register(viewer, "hers")
    assert done.status_code == 200
    listed = await browser.get("/operators/vera/second-factor")
    path = the(r"/operators/vera/passkeys/[0-9a-f]{32}/remove", listed)
    assert (await viewer.post(path)).status_code == 403
    assert "Make sure that it is they who ask for it." in (await browser.get(path)).text

    assert (await browser.post(path)).headers["location"] == "/operators"

    assert (await viewer.get("/account")).status_code == 303
    assert (await browser.get(path)).status_code == 404


async def test_where_browsers_make_none_the_page_says_why(opened):
    """And leads to an app."""
    async with opened(LYFTDATA_PUBLIC_URL="http://lyft.example") as server:
        headers = await server.sign_in()
        body = {"current_password": PASSWORD, "new_password": OWN}
        await server.http.post("/api/me/password", json=body, headers=headers)
        browser = Browser(server.from_address("192.0.2.50"))
        origin = FROM_OUR_PAGE | {"Origin": "http://lyft.example"}
        form = {"username": "admin", "password": OWN}
        await browser.http.post("http://lyft.example/login", data=form, headers=origin)
        page = await browser.get("http://lyft.example" + ADD)
        assert (page.status_code, "data-options" in page.text) == (200, False)
        assert "only for an address with a host name and https" in page.text
        await browser.http.aclose()
