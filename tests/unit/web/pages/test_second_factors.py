"""The pages of second factors, and a sign-in in two steps."""

import pytest
from tests.deployment import PASSWORD
from tests.unit.server.admin.test_second_factors import App
from tests.unit.web.conftest import FROM_OUR_PAGE, Browser, the

OWN = "xxx " + PASSWORD
SESSION = "__Host-lyftdata"
TICKET = "__Host-lyftdata_second_factor"


@pytest.fixture
async def app(server, browser):
    """Return the app of the admin, set up in the browser."""
    page = await browser.get("/account/second-factor")
    made = App(the(r"<code[^>]*>([A-Z2-7 ]+)</code>", page), server.clock)
    setup = the(r'name="setup" value="([^"]+)"', page)
    wrong = await browser.post("/account/second-factor", setup=setup, code="000000")
    assert (wrong.status_code, the(r'name="setup" value="([^"]+)"', wrong)) == (422, setup)
    done = await browser.post("/account/second-factor", setup=setup, code=made.code())
    assert done.status_code == 200, done.text
    made.codes = the(r"<pre[^>]*>([A-Z2-7\s-]+)</pre>", done).split()
    server.clock.forward(seconds=30)
    return made


@pytest.fixture
async def stranger(server):
    """Return a browser that has signed nobody in."""
    made = Browser(server.from_address("192.0.2.77"))
    yield made
    await made.http.aclose()


async def enter(browser, code, **fields):
    """Send the form that asks for the code."""
    return await browser.http.post(
        "/login/second-factor", data={"code": code} | fields, headers=FROM_OUR_PAGE
    )


async def test_it_is_set_up_by_a_text_or_a_link(server, browser):
    """The link that an app opens holds the same secret; the account leads there."""
    page = await browser.get("/account/second-factor")

    secret = the(r"<code[^>]*>([A-Z2-7 ]+)</code>", page).replace(" ", "")
    assert f"secret={secret}&amp;issuer=" in page.text
    drawn = the(r'<svg [^>]*class="qr".*?</svg>', page)
    assert "style=" not in drawn
    assert secret not in drawn
    assert "Set up an authenticator app" in (await browser.get("/account")).text


async def test_after_the_password_nothing_is_open(server, stranger, app):
    """There is no session to fix or to use; the code opens a new one, and the cookie in between is worth nothing after it."""
    stranger.http.cookies.set(SESSION, "lyftdata_session_chosen", domain="lyft.example")
    asked = await stranger.sign_in("admin", OWN, next="/workers?q=press")

    assert (asked.status_code, "Enter the code" in asked.text) == (200, True)
    assert stranger.http.cookies[SESSION] == "lyftdata_session_chosen"
    assert (await stranger.get("/account")).headers["location"].startswith("/login")
    ticket = stranger.http.cookies[TICKET]
    answer = await enter(stranger, app.code(), next="/workers?q=press")
    assert (answer.status_code, answer.headers["location"]) == (303, "/workers?q=press")
    assert stranger.http.cookies[SESSION].startswith("lyftdata_session_")
    assert (await stranger.get("/account")).status_code == 200

    copied = Browser(server.from_address("192.0.2.78"))
    copied.http.cookies.set(TICKET, ticket, domain="lyft.example")
    again = await enter(copied, app.code(1))
    assert (again.status_code, SESSION in copied.http.cookies) == (401, False)
    await copied.http.aclose()


async def test_a_wrong_code_asks_again_and_is_counted(stranger, app):
    """After five, the right one must wait."""
    await stranger.sign_in("admin", OWN)
    for _ in range(5):
        answer = await enter(stranger, "000000")
        assert (answer.status_code, "The code is wrong" in answer.text) == (401, True)

    assert (await enter(stranger, app.code())).status_code == 429


async def test_a_recovery_code_signs_in_in_place_of_the_app(stranger, app):
    """Once."""
    await stranger.sign_in("admin", OWN)
    assert (await enter(stranger, app.codes[0])).status_code == 303
    await stranger.sign_in("admin", OWN)
    assert (await enter(stranger, app.codes[0])).status_code == 401


async def test_the_next_page_says_how_many_recovery_codes_are_left(stranger, app):
    """And what to do: the app may be lost. Once, on the page that was asked for, and not after a code of the app."""
    said = "You have signed in with a recovery code, and 9 codes are left. If your app or passkey is lost, replace it under Account"
    await stranger.sign_in("admin", OWN)
    answer = await enter(stranger, app.codes[0], next="/workers?q=zone%3Deu-1")
    assert answer.headers["location"] == "/workers?q=zone%3Deu-1"

    assert said in (await stranger.get(answer.headers["location"])).text
    assert said not in (await stranger.get(answer.headers["location"])).text
    await stranger.sign_in("admin", OWN)
    await enter(stranger, app.code())
    assert "with a recovery code" not in (await stranger.get("/")).text


@pytest.mark.parametrize("ticket", ["", "made.up", "e30.AAAA", "x" * 2_000])
async def test_without_the_password_the_code_opens_nothing(stranger, app, ticket):
    """A ticket that no Server has made is refused; nothing is counted against the operator."""
    if ticket:
        stranger.http.cookies.set(TICKET, ticket, domain="lyft.example")

    answer = await enter(stranger, app.code())

    assert (answer.status_code, SESSION in stranger.http.cookies) == (401, False)


async def test_a_ticket_ends_after_five_minutes_and_with_the_password(server, browser, stranger, app):
    """Downgrade: the one that was reset meanwhile is not the one that was proved."""
    await stranger.sign_in("admin", OWN)
    server.clock.forward(minutes=5)
    assert (await enter(stranger, app.code())).status_code == 401

    await stranger.sign_in("admin", OWN)
    changed = {"current": OWN, "new": "aaa " + PASSWORD, "again": "aaa " + PASSWORD}
    assert (await browser.post("/account/password", **changed)).status_code == 303
    assert (await enter(stranger, app.code())).status_code == 401


async def test_confirming_that_it_is_you_asks_for_the_code(server, browser, app):
    """The page has a field for it, and the password alone confirms nothing."""
    server.clock.forward(minutes=15)
    page = await browser.get("/account/confirm?next=%2Fissue-api-token")
    assert 'name="code"' in page.text

    alone = await browser.post("/account/confirm", password=OWN, next="/issue-api-token")
    both = await browser.post("/account/confirm", password=OWN, code=app.code(), next="/issue-api-token")

    assert (alone.status_code, both.status_code) == (401, 303)
    assert (await browser.get("/issue-api-token")).status_code == 200


async def test_removing_ones_own_and_anothers(server, browser, viewer, app):
    """Each is asked first; a viewer has one of their own."""
    assert (await viewer.get("/account/second-factor")).status_code == 200
    assert "Remove second factor" in (await browser.get("/operators")).text
    for path in ("/account/second-factor/remove", "/operators/admin/second-factor"):
        assert "Remove" in (await browser.get(path)).text

    assert (await browser.post("/account/second-factor/remove")).headers["location"] == "/account"

    assert (await browser.post("/operators/vera/second-factor")).headers["location"] == "/operators"
    assert "Set up an authenticator app" in (await browser.get("/account")).text
