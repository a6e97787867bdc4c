"""The overview of a large fleet with seven alerts: the essentials fit a laptop's window, and folded alerts stay accessible."""

import re

import httpx2
import pytest
from playwright.sync_api import expect
from tests.behaviour.browser.conftest import Window
from tests.behaviour.browser.history import reload
from tests.behaviour.browser.test_every_page import RULES, barriers
from tests.behaviour.browser.test_live_pages import COUNT, RESET_COUNTS, Flapping
from tests.behaviour.browser.world import World
from tools.screenshots import crowd, there, write_past

LAPTOP = {"width": 1280, "height": 800}
PHONE = {"width": 390, "height": 844}
ALERTS, SHOWN = 7, 3
# In the order on a phone, as decided in the operators' review.
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
READ = "[...document.querySelectorAll('.needs .alerts li')].filter(alert => alert.checkVisibility()).length"


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Return the Server of the screenshots without the connections of its fleet: nearly 3,000 Workers, one rack of them lost."""
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
    """Return a function that opens the overview and, if scripts are on, waits for its event stream."""

    def open_(*, viewport=LAPTOP, **how):
        window = open_window(world.url, viewport=viewport, storage_state=signed_in, **how)
        if how.get("java_script_enabled", True):
            window.page.add_init_script(COUNT)
        page = window.go("/?period=day")
        if how.get("java_script_enabled", True):
            page.wait_for_function("() => window.isStreaming")
            page.evaluate(RESET_COUNTS)
        expect(page.get_by_role("heading", name="Needs you")).to_contain_text(str(ALERTS))
        return page

    return open_


@pytest.fixture(scope="module")
def worker(world):
    """Return the fleet's disabled Worker, which tests change."""
    flapping = Flapping(world.url, "press-08")
    yield flapping
    flapping.close()


@pytest.fixture(params=[True, False], ids=["scripts", "no scripts"])
def scripts(request):
    """Return whether scripts are on."""
    return request.param


def line(page):
    """Return the line that opens the folded alerts."""
    return page.locator("#more-alerts > summary")


@pytest.mark.parametrize("is_snoozed", [False, True])
def test_the_essentials_fit_a_laptops_window(opened, worker, is_snoozed):
    """With seven alerts all cards end within the first 800 pixels, even with a line about snoozed alerts in two of them."""
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
        # Undo it from where it is shown.
        for fold in ("#snoozed", "#snoozed-keys"):
            page.locator(f"{fold} > summary").click()
            page.locator(fold).get_by_role("button", name="End snooze").click()
            expect(page.get_by_text("It is no longer snoozed.")).to_be_visible()
    assert {name: bottom for name, bottom in ends.items() if bottom > LAPTOP["height"]} == {}


def test_the_most_urgent_alerts_are_shown_and_a_line_sums_up_the_rest(opened):
    """A request of another operator comes first; the heading counts all alerts, and the line says what the folded ones are about."""
    page = opened()
    shown = page.locator(".needs > .alerts > li")

    expect(shown).to_have_count(SHOWN)
    expect(shown.first).to_contain_text("otto asks for a second operator")
    expect(line(page)).to_have_text("4 more: refusals, events that wait, settings, inactive Workers")
    expect(page.get_by_role("heading", name="Needs you")).to_have_text(f"Needs you {ALERTS}")
    expect(page.locator("#more-alerts li")).to_have_count(ALERTS - SHOWN)
    assert page.evaluate(READ) == SHOWN


def test_folded_alerts_can_be_opened_by_keyboard(opened, scripts):
    """With and without scripts: Enter opens them, Tab leads to the first link in them, and Space closes them."""
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


def test_unfolded_alerts_stay_unfolded(opened, worker):
    """Live updates keep them open and keep the focus; a reload shows them open or closed, as they were left."""
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


def test_the_overview_has_no_barriers_folded_or_unfolded(opened):
    """Axe finds nothing in light and dark mode, on a laptop and on a phone."""
    for viewport in (LAPTOP, PHONE):
        page = opened(viewport=viewport)
        for is_open in (False, True):
            if is_open:
                line(page).click()
            for scheme in ("light", "dark"):
                page.emulate_media(color_scheme=scheme)
                assert barriers(page, RULES) == []


def test_every_alert_is_printed(opened, scripts):
    """Folded ones too, but not the line that opens them."""
    page = opened(java_script_enabled=scripts)
    page.emulate_media(media="print")

    if scripts:
        assert page.evaluate(READ) == ALERTS
    for number in range(ALERTS):
        expect(page.locator(".needs .alerts li").nth(number)).to_be_visible()
    expect(line(page)).to_be_hidden()


def test_a_phone_shows_the_parts_in_order_of_importance(opened):
    """Verdict, fleet, alerts, events, plot, credentials; nothing is wider than the window."""
    page = opened(viewport=PHONE)
    line(page).click()
    tops = [top for top, _ in page.evaluate(SPANS, PARTS).values()]

    assert tops == sorted(tops)
    assert page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]


def test_focus_is_not_lost_when_an_alert_is_folded(opened, world):
    """If a more urgent alert pushes the focused one into the folded ones, the line that opens them gets the focus."""
    page = opened()
    last = page.locator(".needs > .alerts > li").last
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
