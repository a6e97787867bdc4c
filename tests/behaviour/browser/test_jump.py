"""The jump box, by keyboard only: a Worker's host, a reference or a page is two steps away."""

import re

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect
from tests.behaviour.browser.conftest import Window
from tests.behaviour.browser.world import VIEWER


@pytest.fixture(scope="module")
def admin(chromium, world):
    """Return an admin's window; signing in is slow, so tests share it."""
    window = Window(chromium.new_context(viewport={"width": 1280, "height": 800}), world.url)
    window.sign_in()
    yield window
    assert window.complaints == []
    window.context.close()


def box(page):
    """Return the locator of the jump box."""
    return page.get_by_role("combobox", name="Jump to")


def options(page):
    """Return the locator of the box's options."""
    return page.get_by_role("listbox", name="Jump to").get_by_role("option")


def test_a_host_is_two_steps_away(admin, world):
    """Ctrl K with the host name, then Enter, even if the results have not arrived when Enter is pressed."""
    for path in ("/audit", "/workers"):
        page = admin.go(path)
        page.keyboard.press("Control+k")
        page.keyboard.type("press-03.example")
        page.keyboard.press("Enter")
        expect(page).to_have_url(f"{world.url}/workers/press-03")


def test_enter_does_not_open_a_result_of_an_earlier_text(admin, open_window, world):
    """Enter right after pasting waits for the results of the pasted text; those of the empty box arrive in between."""
    # A separate window, since the clock applies to all of its pages.
    page = open_window(world.url, storage_state=admin.context.storage_state()).page
    held = []

    def hold(route):
        held.append(route)

    page.goto(f"{world.url}/audit")
    page.clock.install()
    page.route("**/jump?q=", hold)
    page.get_by_role("heading", level=1).click()
    with page.expect_request("**/jump?q="):
        page.keyboard.press("Control+k")
        page.clock.run_for(1)
    # Farther ahead than time passes until the clock is paused, since it cannot go back.
    page.clock.pause_at(page.evaluate("Date.now()") + 600_000)
    box(page).fill("press-03.example")
    page.keyboard.press("Enter")
    for route in held:
        route.continue_()
    page.evaluate("() => fetch('/jump?q=audit')")
    assert page.url == f"{world.url}/audit"

    page.clock.run_for(1000)

    expect(page).to_have_url(f"{world.url}/workers/press-03")


def test_the_keyboard_moves_through_the_results(admin, world):
    """The field keeps the focus and names the active option; the number of results is announced; Escape closes, then clears."""
    page = admin.go("/audit")
    page.get_by_role("heading", level=1).click()
    page.keyboard.press("/")
    expect(box(page)).to_be_focused()
    expect(options(page).first).to_be_visible()
    page.keyboard.type("signing")
    expect(options(page)).to_have_count(2)
    expect(page.locator("#said")).to_have_text("2 results")
    expect(box(page)).to_have_attribute("aria-expanded", "true")
    for key, number in (("ArrowDown", 1), ("ArrowDown", 0), ("ArrowUp", 1)):
        page.keyboard.press(key)
        chosen = options(page).nth(number)
        expect(chosen).to_have_attribute("aria-selected", "true")
        expect(box(page)).to_have_attribute("aria-activedescendant", chosen.get_attribute("id"))
    page.keyboard.press("Escape")
    expect(options(page)).to_have_count(0)
    expect(box(page)).to_have_value("signing")
    page.keyboard.press("Escape")
    expect(box(page)).to_have_value("")
    page.keyboard.type("signing")
    expect(options(page)).to_have_count(2)
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    expect(page).to_have_url(f"{world.url}/signing-keys/rotate")


def test_a_slash_typed_into_a_field_is_text(admin):
    """Turned off on the account page, the shortcut does nothing anywhere."""
    page = admin.go("/workers")
    page.get_by_label("Search Workers").fill("")
    page.get_by_label("Search Workers").press("/")
    expect(page.get_by_label("Search Workers")).to_have_value("/")
    admin.go("/account")
    page.get_by_role("checkbox", name=re.compile("opens the jump box")).uncheck()
    admin.go("/audit")
    page.keyboard.press("/")
    expect(box(page)).not_to_be_focused()
    admin.go("/account")
    page.get_by_role("checkbox", name=re.compile("opens the jump box")).check()


def test_single_keys_move_through_a_list_and_select(admin, world):
    """`j` and `k` move the focus from row to row, `x` selects, Enter opens; in a field they are text, and they can be turned off."""
    page = admin.go("/workers?q=press-0")
    rows = page.locator("#fleet tbody tr")
    first, second = (rows.nth(number).get_by_role("link").first for number in (0, 1))

    page.keyboard.press("j")
    expect(first).to_be_focused()
    page.keyboard.press("j")
    expect(second).to_be_focused()
    page.keyboard.press("x")
    expect(rows.nth(1).get_by_role("checkbox")).to_be_checked()
    expect(page.locator("fieldset.bulk")).to_contain_text("With 1 ticked")
    page.keyboard.press("k")
    expect(first).to_be_focused()
    page.get_by_label("Search Workers").press("End")
    page.keyboard.type("j")
    expect(page.get_by_label("Search Workers")).to_have_value("press-0j")
    admin.go("/account")
    page.get_by_role("checkbox", name=re.compile("opens the jump box")).uncheck()
    admin.go("/workers?q=press-0")
    page.keyboard.press("j")
    expect(first).not_to_be_focused()
    admin.go("/account")
    page.get_by_role("checkbox", name=re.compile("opens the jump box")).check()
    admin.go("/workers?q=press-0")
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    expect(page).to_have_url(f"{world.url}/workers/press-01")


def test_a_question_mark_shows_the_keyboard_shortcuts(admin):
    """In a dialog without barriers, which Escape closes; the focus returns to where it was."""
    page = admin.go("/workers?q=press-0")
    page.keyboard.press("j")
    page.keyboard.press("?")
    dialog = page.get_by_role("dialog", name="Keys")
    expect(dialog).to_contain_text("moves to the next row of a list")
    assert Axe().run(page).response["violations"] == []
    page.keyboard.press("j")
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    expect(page.locator("#fleet tbody tr").first.get_by_role("link").first).to_be_focused()


def test_a_key_pasted_into_the_jump_box_is_never_sent(admin):
    """Neither while typing nor with Enter."""
    page = admin.go("/audit")
    sent = []
    page.on("request", lambda request: sent.append(request.url))
    page.keyboard.press("Control+k")
    expect(options(page).first).to_be_visible()
    box(page).fill("lyftdata_abcdefghij_" + "x" * 38)
    expect(page.locator("#jump-count")).to_have_text("A key is not searched for here: use the Incident page.")
    page.keyboard.press("Enter")
    expect(box(page)).to_be_focused()
    assert not [url for url in sent if "lyftdata_" in url]


def test_the_jump_box_offers_a_viewer_no_actions(open_window, world):
    """The box also works by touch on a phone, where it mentions no keyboard shortcut."""
    window = open_window(world.url, viewport={"width": 390, "height": 844}, has_touch=True)
    page = window.sign_in(VIEWER)
    expect(box(page)).to_have_attribute("placeholder", "Jump to…")
    box(page).tap()
    box(page).fill("new worker")
    expect(page.locator("#jump-count")).to_have_text("Nothing found")
    box(page).fill("audit")
    options(page).filter(has_text="Audit").first.tap()
    expect(page).to_have_url(f"{world.url}/audit")
