"""Pages for irreversible actions ask operators to confirm who they are."""

import html

import pytest
from tests.builders import ISSUER
from tests.deployment import PASSWORD
from tests.unit.web.conftest import FROM_OUR_PAGE, get_match

from lyftdata.core.policy import ACTIONS
from lyftdata.web.routes import PAGES

OWN = "xxx " + PASSWORD
FINAL = [entry for entry in PAGES if ACTIONS[entry.action].asks_again]
CUT_OFF = "/incident/cut-off?subject=press-keys&whom=all&action=disable&revoke=yes"


def confirm_url(page):
    """Return the URL of the confirmation page that leads back to a page."""
    from urllib.parse import urlencode

    return f"/account/confirm?{urlencode({'next': page})}"


async def confirm(browser, wanted, password=OWN):
    """Fill in the confirmation form; return the answer."""
    form = await browser.get(confirm_url(wanted))
    destination = html.unescape(get_match(r'name="next" value="([^"]*)"', form))
    return await browser.post("/account/confirm", password=password, next=destination)


async def test_every_page_of_an_irreversible_action_asks_for_confirmation(
    server, browser, press, unhurried, subtests
):
    """Its form asks from ten minutes after the sign-in, which leaves time to fill it in; sending it asks from fifteen."""
    server.clock.forward(minutes=10)
    for entry in FINAL:
        path = entry.path.format(
            worker_id="press-01", name="press-keys", kid="k", passkey_id="p", request_id="r"
        )
        answer = await (browser.get(path) if entry.method == "GET" else browser.post(path))

        with subtests.test(f"{entry.method} {entry.path}"):
            is_asked = answer.headers.get("location", "").startswith("/account/confirm")
            assert is_asked == (entry.method == "GET")
    server.clock.forward(minutes=5)
    for entry in FINAL:
        path = entry.path.format(
            worker_id="press-01", name="press-keys", kid="k", passkey_id="p", request_id="r"
        )
        headers = FROM_OUR_PAGE | {"Referer": f"{ISSUER}/operators?page=2"}
        answer = await (
            browser.get(path)
            if entry.method == "GET"
            else browser.http.post(path, data={"csrf": browser.csrf}, headers=headers)
        )

        with subtests.test(f"{entry.method} {entry.path}"):
            assert answer.status_code == 303
            wanted = path if entry.method == "GET" else "/operators?page=2"
            assert answer.headers["location"] == confirm_url(wanted)


async def test_confirming_returns_to_the_requested_page(server, browser, press):
    """With its query. The browser gets a new session token, and the previous one is invalid."""
    server.clock.forward(minutes=15)
    before = dict(browser.http.cookies)
    asked = await browser.get(CUT_OFF)
    assert asked.headers["location"] == confirm_url(CUT_OFF)

    answer = await confirm(browser, CUT_OFF)

    assert (answer.status_code, answer.headers["location"]) == (303, CUT_OFF)
    assert (await browser.get("/operators/admin/reset")).status_code == 200
    copied = server.from_address("192.0.2.66")
    for name, value in before.items():
        copied.cookies.set(name, value, domain="lyft.example")
    assert (await copied.get("/account")).headers["location"].startswith("/login")
    await copied.aclose()


async def test_a_wrong_password_asks_again_and_keeps_the_destination(server, browser):
    """The page says that the password was wrong, and the session is still unconfirmed."""
    server.clock.forward(minutes=15)

    answer = await confirm(browser, "/issue-api-token", "wrong wrong wrong")

    assert answer.status_code == 401
    assert "The current password is wrong." in answer.text
    assert 'value="/issue-api-token"' in answer.text
    assert (await browser.get("/issue-api-token")).status_code == 303


@pytest.mark.parametrize("wanted", ["https://evil.example/", "//evil.example", "/logout"])
async def test_confirming_never_redirects_to_another_site(browser, wanted):
    """Open redirect: it continues only to a page of this Server."""
    assert (await confirm(browser, wanted)).headers["location"] == "/"


async def test_deleting_many_workers_asks_for_confirmation(server, browser, press):
    """Disabling many does not, since that can be undone in the same list."""
    server.clock.forward(minutes=15)
    ask = "/change-workers?action={}&id=press-01"

    assert (await browser.get(ask.format("disable"))).status_code == 200
    assert (await browser.get(ask.format("delete"))).headers["location"] == confirm_url(ask.format("delete"))
    sent = await browser.post("/workers", action="delete", id="press-01", confirmed="yes")
    assert sent.headers["location"] == "/account/confirm"
    assert server.services.directory.find_worker("press-01") is not None


async def test_background_requests_do_not_extend_the_session(server, browser):
    """An open page's own requests do not keep a session alive; a person's do."""
    server.clock.forward(hours=3)
    background = {"HX-Request": "true", "Lyftdata-Background": "yes"}
    assert (await browser.get("/workers", headers=background)).status_code == 200
    server.clock.forward(hours=1)
    assert (await browser.get("/workers", headers=background)).status_code == 401

    await browser.sign_in("admin", OWN)
    server.clock.forward(hours=3)
    assert (await browser.get("/workers", headers={"HX-Request": "true"})).status_code == 200
    server.clock.forward(hours=1)
    assert (await browser.get("/workers")).status_code == 200
