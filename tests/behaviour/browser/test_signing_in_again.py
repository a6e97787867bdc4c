"""What an operator finds in a browser when signed out, refused or lost: the way back, and why."""

import pytest
from playwright.sync_api import expect
from tests.behaviour.browser.conftest import Window
from tests.behaviour.browser.world import VIEWER
from tests.processes import PASSWORD

FILTERED = "/workers?q=press+status%3Aonline+zone%3Deu-1&sort="


@pytest.fixture
def window(chromium, world):
    """Return a window of its own, closed at the end."""
    made = Window(chromium.new_context(), world.url)
    yield made
    made.context.close()


def sign_in_here(page, name):
    """Fill in the form of the page that is shown."""
    page.get_by_label("Name").fill(name)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()


def test_a_link_leads_through_signing_in_to_its_filter(window, world):
    """A colleague who is signed out lands on the very list that was sent."""
    page = window.go(FILTERED)
    sign_in_here(page, VIEWER)

    expect(page).to_have_url(world.url + FILTERED)
    expect(page.locator("tbody tr")).to_have_count(3)


def test_a_live_page_whose_session_has_ended_says_so_and_comes_back(window, world):
    """Ended elsewhere, the page leads to signing in with a reason, and from there back to its filter."""
    window.sign_in(VIEWER)
    expect(window.page.get_by_role("heading", level=1)).to_have_text("Overview")
    page = window.go(FILTERED)
    for cookie in window.context.cookies():
        if "flash" not in cookie["name"] and "device" not in cookie["name"]:
            window.context.add_cookies([cookie | {"value": "lyftdata_session_ended"}])
    page.evaluate("htmx.trigger(document.body, 'fleet')")

    expect(page.get_by_role("heading", level=1)).to_have_text("Sign in")
    expect(page.get_by_role("status")).to_contain_text("Your session has ended.")
    sign_in_here(page, VIEWER)
    expect(page).to_have_url(world.url + FILTERED)


def test_an_error_page_has_the_menu(window):
    """Refused, not found, typed wrong: the menu is there, and leads on."""
    window.sign_in(VIEWER)
    expect(window.page.get_by_role("heading", level=1)).to_have_text("Overview")
    for path in ("/add-worker", "/workers/nobody", "/nope", "/logout"):
        page = window.go(path)
        page.get_by_role("navigation", name="Main").get_by_role("link", name="Workers").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("Workers")
