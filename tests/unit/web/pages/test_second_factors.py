"""The pages of second factors, and signing in with two steps."""

import pytest
from tests.deployment import PASSWORD
from tests.unit.server.admin.test_second_factors import App
from tests.unit.web.conftest import FROM_OUR_PAGE, Browser, get_match

OWN = "xxx " + PASSWORD
SESSION = "__Host-lyftdata"
TICKET = "__Host-lyftdata_second_factor"


@pytest.fixture
async def app(server, browser):
    """Return the admin's authenticator app, set up in the browser."""
    page = await browser.get("/account/second-factor")
    made = App(get_match(r"<code[^>]*>([A-Z2-7 ]+)</code>", page), server.clock)
    setup = get_match(r'name="setup" value="([^"]+)"', page)
    wrong = await browser.post("/account/second-factor", setup=setup, code="000000")
    assert (wrong.status_code, get_match(r'name="setup" value="([^"]+)"', wrong)) == (422, setup)
    done = await browser.post("/account/second-factor", setup=setup, code=made.code())
    assert done.status_code == 200, done.text
    made.codes = get_match(r"<pre[^>]*>([A-Z2-7\s-]+)</pre>", done).split()
    server.clock.forward(seconds=30)
    return made


@pytest.fixture
async def signed_out(server):
    """Yield a browser in which no operator is signed in."""
    made = Browser(server.from_address("192.0.2.77"))
    yield made
    await made.http.aclose()


async def enter(browser, code, **fields):
    """Send the form that asks for the code."""
    return await browser.http.post(
        "/login/second-factor", data={"code": code} | fields, headers=FROM_OUR_PAGE
    )


async def test_an_app_is_set_up_by_a_text_or_a_link(server, browser):
    """The link that an app opens has the same secret; the account page links to the setup."""
    page = await browser.get("/account/second-factor")

    secret = get_match(r"<code[^>]*>([A-Z2-7 ]+)</code>", page).replace(" ", "")
    assert f"secret={secret}&amp;issuer=" in page.text
    drawn = get_match(r'<svg [^>]*class="qr".*?</svg>', page)
    assert "style=" not in drawn
    assert secret not in drawn
    assert "Set up an authenticator app" in (await browser.get("/account")).text


async def test_the_password_alone_opens_no_session(server, signed_out, app):
    """So there is no session to fix or to use; the code opens a new one, after which the intermediate cookie is invalid."""
    signed_out.http.cookies.set(SESSION, "lyftdata_session_chosen", domain="lyft.example")
    asked = await signed_out.sign_in("admin", OWN, next="/workers?q=press")

    assert (asked.status_code, "Enter the code" in asked.text) == (200, True)
    assert signed_out.http.cookies[SESSION] == "lyftdata_session_chosen"
    assert (await signed_out.get("/account")).headers["location"].startswith("/login")
    ticket = signed_out.http.cookies[TICKET]
    answer = await enter(signed_out, app.code(), next="/workers?q=press")
    assert (answer.status_code, answer.headers["location"]) == (303, "/workers?q=press")
    assert signed_out.http.cookies[SESSION].startswith("lyftdata_session_")
    assert (await signed_out.get("/account")).status_code == 200

    copied = Browser(server.from_address("192.0.2.78"))
    copied.http.cookies.set(TICKET, ticket, domain="lyft.example")
    again = await enter(copied, app.code(1))
    assert (again.status_code, SESSION in copied.http.cookies) == (401, False)
    await copied.http.aclose()


async def test_a_wrong_code_asks_again_and_is_counted(signed_out, app):
    """After five wrong ones, even the right code must wait."""
    await signed_out.sign_in("admin", OWN)
    for _ in range(5):
        answer = await enter(signed_out, "000000")
        assert (answer.status_code, "The code is wrong" in answer.text) == (401, True)

    assert (await enter(signed_out, app.code())).status_code == 429


async def test_a_recovery_code_signs_in_once_instead_of_the_app(signed_out, app):
    """The same code is refused the second time."""
    await signed_out.sign_in("admin", OWN)
    assert (await enter(signed_out, app.codes[0])).status_code == 303
    await signed_out.sign_in("admin", OWN)
    assert (await enter(signed_out, app.codes[0])).status_code == 401


async def test_the_next_page_says_how_many_recovery_codes_are_left(signed_out, app):
    """And what to do, since the app may be lost. It says so once, on the requested page, and not after a code from the app."""
    said = "You have signed in with a recovery code, and 9 codes are left. If your app or passkey is lost, replace it under Account"
    await signed_out.sign_in("admin", OWN)
    answer = await enter(signed_out, app.codes[0], next="/workers?q=zone%3Deu-1")
    assert answer.headers["location"] == "/workers?q=zone%3Deu-1"

    assert said in (await signed_out.get(answer.headers["location"])).text
    assert said not in (await signed_out.get(answer.headers["location"])).text
    await signed_out.sign_in("admin", OWN)
    await enter(signed_out, app.code())
    assert "with a recovery code" not in (await signed_out.get("/")).text


@pytest.mark.parametrize("ticket", ["", "made.up", "e30.AAAA", "x" * 2_000])
async def test_a_code_without_the_password_is_refused(signed_out, app, ticket):
    """A ticket that no Server made is refused, and does not count as a failure of the operator's."""
    if ticket:
        signed_out.http.cookies.set(TICKET, ticket, domain="lyft.example")

    answer = await enter(signed_out, app.code())

    assert (answer.status_code, SESSION in signed_out.http.cookies) == (401, False)


async def test_a_ticket_expires_after_five_minutes_and_with_the_password(server, browser, signed_out, app):
    """Downgrade: the ticket proves only the password that was valid at that time."""
    await signed_out.sign_in("admin", OWN)
    server.clock.forward(minutes=5)
    assert (await enter(signed_out, app.code())).status_code == 401

    await signed_out.sign_in("admin", OWN)
    changed = {"current": OWN, "new": "aaa " + PASSWORD, "again": "aaa " + PASSWORD}
    assert (await browser.post("/account/password", **changed)).status_code == 303
    assert (await enter(signed_out, app.code())).status_code == 401


async def test_confirming_needs_the_code(server, browser, app):
    """The page has a field for it, and the password alone confirms nothing."""
    server.clock.forward(minutes=15)
    page = await browser.get("/account/confirm?next=%2Fissue-api-token")
    assert 'name="code"' in page.text

    alone = await browser.post("/account/confirm", password=OWN, next="/issue-api-token")
    both = await browser.post("/account/confirm", password=OWN, code=app.code(), next="/issue-api-token")

    assert (alone.status_code, both.status_code) == (401, 303)
    assert (await browser.get("/issue-api-token")).status_code == 200


async def test_an_admin_removes_their_own_and_another_operators_second_factor(server, browser, viewer, app):
    """Each asks for confirmation; a viewer manages their own."""
    assert (await viewer.get("/account/second-factor")).status_code == 200
    assert "Remove second factor" in (await browser.get("/operators")).text
    for path in ("/account/second-factor/remove", "/operators/admin/second-factor"):
        assert "Remove" in (await browser.get(path)).text

    assert (await browser.post("/account/second-factor/remove")).headers["location"] == "/account"

    assert (await browser.post("/operators/vera/second-factor")).headers["location"] == "/operators"
    assert "Set up an authenticator app" in (await browser.get("/account")).text
