"""An operator who is signed out, refused or at a wrong URL finds out why, and how to go on."""

import pytest
from playwright.sync_api import expect
from tests.behaviour.browser.conftest import Window
from tests.behaviour.browser.world import VIEWER
from tests.processes import PASSWORD

FILTERED = "/workers?q=press+status%3Aonline+zone%3Deu-1&sort="


@pytest.fixture
def window(chromium, world):
    """Return a new window, closed at the end."""
    made = Window(chromium.new_context(), world.url)
    yield made
    made.context.close()


def sign_in_here(page, name):
    """Fill in and send the sign-in form that is shown."""
    page.get_by_label("Name").fill(name)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()


def test_a_link_with_a_filter_works_after_signing_in(window, world):
    """An operator who is signed out gets to the list that a colleague linked to."""
    page = window.go(FILTERED)
    sign_in_here(page, VIEWER)

    expect(page).to_have_url(world.url + FILTERED)
    expect(page.locator("tbody tr")).to_have_count(3)


def test_a_live_page_whose_session_has_ended_leads_to_the_sign_in_form_and_back(window, world):
    """The form gives the reason, and leads back to the page with its filter."""
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
    """For a refusal, a missing Worker and an unknown URL; the menu works."""
    window.sign_in(VIEWER)
    expect(window.page.get_by_role("heading", level=1)).to_have_text("Overview")
    for path in ("/add-worker", "/workers/nobody", "/nope", "/logout"):
        page = window.go(path)
        page.get_by_role("navigation", name="Main").get_by_role("link", name="Workers").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("Workers")
