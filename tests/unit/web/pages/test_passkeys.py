"""The pages of passkeys: registering, signing in, confirming, removing."""

import html

import pytest
from tests.authenticator import Authenticator
from tests.deployment import PASSWORD
from tests.unit.web.conftest import FROM_OUR_PAGE, Browser, get_match

OWN = "xxx " + PASSWORD
SESSION = "__Host-lyftdata"
ADD = "/account/passkeys/add"


def options_of(page):
    """Return the options that a page passes to the browser's authenticator."""
    return html.unescape(get_match(r'data-options="([^"]+)"', page))


async def register(browser, name="desk", key=None):
    """Register a passkey with the form; return it and the answer."""
    key = key or Authenticator()
    answer = key.create(options_of(await browser.get(ADD)))
    return key, await browser.post(ADD, name=name, passkey=answer)


async def enter(browser, **fields):
    """Send the form of the second step of a sign-in."""
    return await browser.http.post("/login/second-factor", data=fields, headers=FROM_OUR_PAGE)


@pytest.fixture
async def key(browser):
    """Return the admin's passkey, registered in the browser, with its recovery codes."""
    made, done = await register(browser)
    assert done.status_code == 200, done.text
    made.codes = get_match(r"<pre[^>]*>([A-Z2-7\s-]+)</pre>", done).split()
    return made


@pytest.fixture
async def signed_out(server):
    """Yield a browser in which no operator is signed in."""
    made = Browser(server.from_address("192.0.2.77"))
    yield made
    await made.http.aclose()


async def test_a_passkey_is_added_under_a_name(browser, key):
    """The first one shows recovery codes; the account shows when each was used. After a wrong answer the form keeps the name."""
    assert len(key.codes) == 10
    assert "not used yet" in (await browser.get("/account")).text
    again = await browser.post(ADD, name="other", passkey="{}")
    assert (again.status_code, 'value="other"' in again.text) == (422, True)
    assert "was not made for this page" in again.text
    _, taken = await register(browser, "desk")
    assert (taken.status_code, "another one of your passkeys" in taken.text) == (422, True)
    _, second = await register(browser, "phone")
    assert (second.status_code, second.headers["location"]) == (303, "/account")


async def test_a_passkey_signs_in_after_the_password(signed_out, key):
    """There is no session in between; the page needs no inline script, and says what to do without scripts."""
    asked = await signed_out.sign_in("admin", OWN, next="/workers")
    assert "A passkey needs scripts" in asked.text
    assert '<script src="/static/passkey.js' in asked.text
    assert SESSION not in signed_out.http.cookies

    answer = await enter(signed_out, passkey=key.get(options_of(asked)), next="/workers")

    assert (answer.status_code, answer.headers["location"]) == (303, "/workers")
    page = await signed_out.get("/account")
    assert "last used" in page.text


async def test_a_wrong_passkey_is_asked_again_with_a_new_challenge(signed_out, key):
    """A recovery code also completes the sign-in."""
    asked = await signed_out.sign_in("admin", OWN)

    again = await enter(signed_out, passkey=Authenticator().get(options_of(asked)))

    assert (again.status_code, "The passkey was not accepted" in again.text) == (401, True)
    assert options_of(again) != options_of(asked)
    assert (await enter(signed_out, code=key.codes[0])).status_code == 303


async def test_the_host_of_a_request_does_not_change_the_relying_party(server, browser, key):
    """The passkey's host is that of the public URL; a request for another host is refused."""
    shown = await browser.get(ADD)
    assert '"id": "lyft.example"' in options_of(shown)
    elsewhere = await browser.get(ADD, headers={"Host": "evil.example"})
    assert elsewhere.status_code == 403
    assert "data-options" not in elsewhere.text


async def test_without_the_password_no_passkeys_are_revealed(signed_out, key):
    """Neither which ones an operator has, nor that they have any."""
    page = await enter(signed_out, passkey="{}")

    assert (page.status_code, "data-options" in page.text) == (401, False)


async def test_confirming_needs_the_passkey(server, browser, key):
    """In addition to the password, which alone confirms nothing."""
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


async def test_removing_a_passkey_says_what_is_left(browser, key):
    """Without the last one, the password alone signs in; the recovery codes are removed too."""
    path = get_match(r"/account/passkeys/[0-9a-f]{32}/remove", await browser.get("/account"))
    assert "your password alone signs you in then" in (await browser.get(path)).text

    assert (await browser.post(path)).headers["location"] == "/account"

    assert "You have none" in (await browser.get("/account")).text
    assert (await browser.get(path)).status_code == 404
    assert (await browser.post(path)).status_code == 404


async def test_an_admin_removes_another_operators_passkey(browser, viewer):
    """On the page that resets a second factor; a viewer cannot remove anyone else's."""
    _, done = await register(viewer, "hers")
    assert done.status_code == 200
    listed = await browser.get("/operators/vera/second-factor")
    path = get_match(r"/operators/vera/passkeys/[0-9a-f]{32}/remove", listed)
    assert (await viewer.post(path)).status_code == 403
    assert "Make sure that it is they who ask for it." in (await browser.get(path)).text

    assert (await browser.post(path)).headers["location"] == "/operators"

    assert (await viewer.get("/account")).status_code == 303
    assert (await browser.get(path)).status_code == 404


async def test_without_https_the_page_says_why_passkeys_do_not_work(opened):
    """It offers an app instead."""
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
