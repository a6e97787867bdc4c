"""The overview of a large fleet with seven alerts: all that matters fits a laptop's window, and the alerts that are folded stay within reach."""

import re

import httpx2
import pytest
from playwright.sync_api import expect
from tests.behaviour.browser.conftest import Window
from tests.behaviour.browser.history import reload
from tests.behaviour.browser.test_every_page import RULES, barriers
from tests.behaviour.browser.test_live_pages import COUNT, COUNT_ANEW, Flapping
from tests.behaviour.browser.world import World
from tools.screenshots import crowd, there, write_past

LAPTOP = {"width": 1280, "height": 800}
PHONE = {"width": 390, "height": 844}
ALERTS, SHOWN = 7, 3
# In the order in which a phone shows them, as the operators' review wants it.
PARTS = {
    "verdict": "#verdict",
    "fleet": "section[aria-labelledby=fleet]",
    "needs you": "section.needs",
    "happened": "section.happened",
    "chart": "section.over-time",
    "credentials": "section.credentials",
}
SPANS = """parts => Object.fromEntries(Object.entries(parts).map(([name, selector]) => {
  const box = document.querySelector(selector).getBoundingClientRect();
  return [name, [box.top + scrollY, box.bottom + scrollY]]; }))"""
READ = "[...document.querySelectorAll('.needs .concerns li')].filter(alert => alert.checkVisibility()).length"


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Return the Server of the screenshots, whose fleet is not connected: nearly 3,000 Workers, one rack of them lost."""
    made = World(tmp_path_factory.mktemp("world"), crowd=crowd(), more=write_past, connected=len(there()))
    yield made
    made.close()


@pytest.fixture(scope="module")
def signed_in(chromium, world):
    """Return the cookies of a signed-in admin."""
    window = Window(chromium.new_context(), world.url)
    window.sign_in()
    expect(window.page.get_by_role("heading", level=1)).to_have_text("Overview")
    state = window.context.storage_state()
    window.context.close()
    return state


@pytest.fixture
def opened(open_window, world, signed_in):
    """Return a function that opens the overview; with scripts, one whose event stream is connected."""

    def open_(*, viewport=LAPTOP, **how):
        window = open_window(world.url, viewport=viewport, storage_state=signed_in, **how)
        if how.get("java_script_enabled", True):
            window.page.add_init_script(COUNT)
        page = window.go("/?period=day")
        if how.get("java_script_enabled", True):
            page.wait_for_function("() => window.isStreaming")
            page.evaluate(COUNT_ANEW)
        expect(page.get_by_role("heading", name="Needs you")).to_contain_text(str(ALERTS))
        return page

    return open_


@pytest.fixture(scope="module")
def worker(world):
    """Return the disabled Worker of the fleet, as one that changes."""
    flapping = Flapping(world.url, "press-08")
    yield flapping
    flapping.close()


@pytest.fixture(params=[True, False], ids=["scripts", "no scripts"])
def scripts(request):
    """Return whether scripts run."""
    return request.param


def line(page):
    """Return the line that opens the fold."""
    return page.locator("#more-alerts > summary")


@pytest.mark.parametrize("is_snoozed", [False, True])
def test_all_that_matters_fits_a_laptops_window(opened, worker, is_snoozed):
    """With seven alerts the plot and every other card end within the first 800 pixels; also with a line about snoozed ones in two cards."""
    page = opened()
    if is_snoozed:
        for name in ("Workers wait for approval", "API key contractor-key"):
            page.get_by_role("link", name=re.compile(f"Snooze.*{name}")).click()
            page.get_by_role("button", name="Snooze").click()
            expect(page.get_by_text("Snoozed: it comes back")).to_be_visible()
        page.goto(page.url)
        expect(page.get_by_text("1 snoozed")).to_have_count(2)

    ends = {name: bottom for name, (_, bottom) in page.evaluate(SPANS, PARTS).items()}

    if is_snoozed:
        # As it was, from where it is shown.
        for fold in ("#snoozed", "#snoozed-keys"):
            page.locator(f"{fold} > summary").click()
            page.locator(fold).get_by_role("button", name="End snooze").click()
            expect(page.get_by_text("It is no longer snoozed.")).to_be_visible()
    assert {name: bottom for name, bottom in ends.items() if bottom > LAPTOP["height"]} == {}


def test_the_most_urgent_are_shown_and_the_line_says_what_else_there_is(opened):
    """What one operator waits for comes first; the heading counts all, and the line says how many are folded and what they are about."""
    page = opened()
    shown = page.locator(".needs > .concerns > li")

    expect(shown).to_have_count(SHOWN)
    expect(shown.first).to_contain_text("otto asks for a second operator")
    expect(line(page)).to_have_text("4 more: refusals, events that wait, settings, inactive Workers")
    expect(page.get_by_role("heading", name="Needs you")).to_have_text(f"Needs you {ALERTS}")
    expect(page.locator("#more-alerts li")).to_have_count(ALERTS - SHOWN)
    assert page.evaluate(READ) == SHOWN


def test_the_fold_is_opened_by_keyboard(opened, scripts):
    """With scripts and without: Enter opens it, Tab leads to the first button in it, and Space closes it."""
    page = opened(java_script_enabled=scripts)
    line(page).focus()
    page.keyboard.press("Enter")
    folded = page.locator("#more-alerts li")
    for number in range(ALERTS - SHOWN):
        expect(folded.nth(number)).to_be_visible()
    page.keyboard.press("Tab")
    expect(folded.first.get_by_role("link").first).to_be_focused()
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Space")
    expect(folded.first).to_be_hidden()


def test_an_open_fold_stays_open(opened, worker):
    """A live update changes neither that nor the focus in it; the page is loaded again as it was left, open or closed."""
    page = opened()
    line(page).click()
    button = page.locator("#more-alerts li").last.get_by_role("link", name="Show them")
    button.focus()
    worker.seen_by(page, 2)

    expect(button).to_be_visible()
    expect(button).to_be_focused()
    reload(page, heading="Overview")
    expect(button).to_be_visible()
    line(page).click()
    expect(button).to_be_hidden()
    reload(page, heading="Overview")
    expect(line(page)).to_be_visible()
    expect(button).to_be_hidden()


def test_no_barrier_in_either_state(opened):
    """Axe finds nothing with the fold closed and open, in light and in dark, on a laptop and on a phone."""
    for viewport in (LAPTOP, PHONE):
        page = opened(viewport=viewport)
        for is_open in (False, True):
            if is_open:
                line(page).click()
            for scheme in ("light", "dark"):
                page.emulate_media(color_scheme=scheme)
                assert barriers(page, RULES) == []


def test_paper_has_every_alert(opened, scripts):
    """What is folded on the screen is printed, and the line that opens it is not."""
    page = opened(java_script_enabled=scripts)
    page.emulate_media(media="print")

    if scripts:
        assert page.evaluate(READ) == ALERTS
    for number in range(ALERTS):
        expect(page.locator(".needs .concerns li").nth(number)).to_be_visible()
    expect(line(page)).to_be_hidden()


def test_the_order_of_a_phone(opened):
    """The verdict, the bar, what needs an operator, what happened, the plot, credentials; nothing is wider than the window."""
    page = opened(viewport=PHONE)
    line(page).click()
    tops = [top for top, _ in page.evaluate(SPANS, PARTS).values()]

    assert tops == sorted(tops)
    assert page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]


def test_focus_is_not_lost_in_the_fold(opened, world):
    """An alert that a more urgent one pushes into the closed fold leaves its focus to the line that opens it."""
    page = opened()
    last = page.locator(".needs > .concerns > li").last
    expect(last).to_contain_text("press-07")
    last.get_by_role("link").last.focus()
    form = {"grant_type": "client_credentials", "client_id": "binder-04", "client_secret": "nonsense"}
    httpx2.post(
        f"{world.url}/oauth2/token",
        data=form,
        headers={"X-Forwarded-For": "203.0.113.4"},
        trust_env=False,
        timeout=180,
    )

    page.evaluate("htmx.trigger(document.body, 'fleet')")
    expect(last).to_contain_text("binder 4 at 203.0.113.4")
    expect(line(page)).to_contain_text("5 more")
    expect(line(page)).to_be_focused()
