"""Pages that update themselves: focus, clicks, selected text, ticks and scroll positions survive it."""

import ipaddress
import re

import httpx2
import pytest
from playwright.sync_api import expect
from tests.behaviour.browser.gateway import Gateway
from tests.behaviour.browser.world import ADMIN
from tests.processes import PASSWORD

STALE = "what is shown may be old"
# What the browser and htmx write to the console when an answer is missing or an error.
UNREACHABLE = re.compile(
    r"net::ERR_|Response Status Error Code (502|404)|htmx:(afterRequest|timeout|sendError)"
)
LONG_ADDRESS = "2001:0db8:85a3:1111:2222:8a2e:0370:7334"
# Counts the answers for live regions, and those that were shown. The audit page also requests the verification of its log,
# which is not in a live region.
COUNT = """window.answers = 0; window.swaps = 0;
const isRegion = event => event.detail.target.matches("[data-region]");
document.addEventListener("htmx:beforeSwap", event => { if (isRegion(event)) answers += 1; });
document.addEventListener("htmx:afterSwap", event => { if (isRegion(event)) swaps += 1; });
window.EventSource = class extends EventSource {
  constructor(url) {
    super(url);
    this.addEventListener("open", () => { window.isStreaming = true; });
  }
};"""

# Start counting: a page also updates by itself, and may have shown an answer just before.
RESET_COUNTS = "answers = 0; swaps = 0;"

# The table was scrolled, and has stopped.
SCROLLED = """() => new Promise(resolve => {
  const box = document.querySelector(".scroll"), before = box.scrollLeft;
  setTimeout(() => resolve(before > 0 && box.scrollLeft === before), 200);
})"""


class Flapping:
    """A Worker that another operator disables and enables again."""

    def __init__(self, url: str, worker_id: str) -> None:
        # A new connection for each request, since the Server may have been restarted in between.
        limits = httpx2.Limits(max_keepalive_connections=0)
        self._http = httpx2.Client(base_url=url, trust_env=False, timeout=180, limits=limits)
        answer = self._http.post("/api/login", json={"username": ADMIN, "password": PASSWORD})
        self._http.headers["Authorization"] = f"Bearer {answer.raise_for_status().json()['token']}"
        self._worker_id = worker_id
        self._is_enabled = False

    def flap(self) -> None:
        """Change it once."""
        self._is_enabled = not self._is_enabled
        change = {"enabled": self._is_enabled}
        self._http.patch(f"/api/workers/{self._worker_id}", json=change).raise_for_status()

    def seen_by(self, page, number=3):
        """Change it until the page has shown this many updates."""
        for wanted in range(1, number + 1):
            self.flap()
            page.wait_for_function("wanted => swaps >= wanted", arg=wanted)

    def post(self, path, body):
        """Send another request in the meantime; return the answer."""
        return self._http.post(path, json=body).raise_for_status().json()

    def delete(self, path):
        """Delete something in the meantime."""
        self._http.delete(path).raise_for_status()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()


@pytest.fixture(scope="module")
def worker(world):
    """Return the fleet's disabled Worker, which tests change."""
    flapping = Flapping(world.url, "press-08")
    yield flapping
    flapping.close()


@pytest.fixture(scope="module")
def signed_in(chromium, world):
    """Return the cookies of a signed-in admin."""
    from tests.behaviour.browser.conftest import Window

    window = Window(chromium.new_context(), world.url)
    window.sign_in()
    expect(window.page.get_by_role("heading", level=1)).to_have_text("Overview")
    state = window.context.storage_state()
    window.context.close()
    return state


@pytest.fixture
def gateway(world):
    """Return a reverse proxy in front of the Server that can fail."""
    with Gateway(world.port) as made:
        yield made


@pytest.fixture
def opened(open_window, world, signed_in):
    """Return a function that opens a page whose event stream is connected."""
    windows = []

    def open_(path, *, url="", width=1280, **how):
        viewport = {"width": width, "height": 800}
        window = open_window(url or world.url, viewport=viewport, **how)
        windows.append(window)
        window.context.add_cookies([_on_port(cookie, window.url) for cookie in signed_in["cookies"]])
        window.page.add_init_script(COUNT)
        page = window.go(path)
        if page.locator("body[data-live]").count():
            page.wait_for_function("() => window.isStreaming")
        page.wait_for_function("() => document.querySelectorAll('.htmx-request').length === 0")
        page.evaluate(RESET_COUNTS)
        return page

    yield open_
    for window in windows:
        window.context.close()
        window.complaints[:] = [text for text in window.complaints if not UNREACHABLE.search(text)]


def _on_port(cookie, url):
    """Return the cookie under the name that it has on another port of the same host."""
    return cookie | {"name": re.sub(r"_[0-9]+", f"_{url.rpartition(':')[2]}", cookie["name"], count=1)}


@pytest.mark.parametrize(
    ("path", "focused"),
    [
        ("/", "a[href='/workers?q=status:never_connected']"),
        ("/workers", "a[href='/workers/press-03']"),
        ("/workers/press-08", "a.danger"),
    ],
)
def test_focus_stays_while_a_worker_flaps(opened, worker, path, focused):
    """A focused link keeps the focus, however often a Worker comes and goes."""
    page = opened(path)
    link = page.locator(focused)
    link.focus()

    worker.seen_by(page)

    expect(link).to_be_focused()


@pytest.mark.parametrize("path", ["/", "/workers", "/workers/press-08"])
def test_a_page_is_loaded_once(opened, worker, path):
    """It is not fetched again when its event stream opens; the first change afterwards causes one request."""
    page = opened(path)
    worker.seen_by(page, 1)
    assert page.evaluate("answers") == 1


def test_focus_stays_while_refusals_come_in(opened, world):
    """A new refusal on top moves the focused one down, and it keeps the focus."""
    page = opened("/refusals")
    link = page.locator("#live li", has_text="press-99").get_by_role("link", name="press-99", exact=True)
    link.focus()
    httpx2.post(
        f"{world.url}/oauth2/token",
        data={"grant_type": "client_credentials", "client_id": "newcomer", "client_secret": "x"},
        trust_env=False,
        timeout=180,
    )

    expect(page.locator("#live li").first).to_contain_text("newcomer")
    expect(link).to_be_focused()


def test_focus_goes_to_the_next_row_when_its_own_is_gone(opened, worker):
    """When the focused row goes, the row that takes its place gets the focus."""
    worker.post("/api/workers", {"name": "aaa", "id": "aaa"})
    page = opened("/workers")
    page.get_by_role("link", name="aaa", exact=True).focus()
    following = page.locator("tbody tr").nth(1).get_by_role("link").first.inner_text()

    worker.delete("/api/workers/aaa")

    expect(page.get_by_role("link", name="aaa", exact=True)).to_have_count(0)
    page.wait_for_function(
        "text => document.activeElement.closest('tr')?.innerText.trim().startsWith(text)", arg=following
    )


def test_a_slow_click_lands_where_it_began(opened, worker):
    """An update that arrives while a mouse button is down waits until the click is done."""
    page = opened("/workers")
    page.get_by_role("link", name="press-03", exact=True).hover()
    page.mouse.down()
    page.evaluate(RESET_COUNTS)
    worker.flap()
    page.wait_for_function("() => answers > 0")
    assert page.evaluate("swaps") == 0
    page.mouse.up()

    expect(page.get_by_role("heading", level=1)).to_have_text("press-03")


def test_an_update_that_waited_for_a_click_is_shown_after_it(opened, worker):
    """A deferred update is shown once the pointer is up."""
    page = opened("/workers")
    page.get_by_role("columnheader", name="Status").hover()
    page.mouse.down()
    page.evaluate(RESET_COUNTS)
    worker.flap()
    page.wait_for_function("() => answers > 0")
    assert page.evaluate("swaps") == 0
    page.mouse.up()

    page.wait_for_function("() => swaps > 0")


@pytest.mark.parametrize(
    ("path", "selected"),
    [
        ("/", "section[aria-labelledby=fleet] .legend a"),
        ("/workers", "tbody th"),
        ("/workers/press-08", "dd.mono"),
        ("/refusals", ".aside .mono"),
        ("/audit?follow=yes", "tbody th"),
    ],
)
def test_selected_text_stays_selected(opened, worker, path, selected):
    """Selected text stays selected; the page says that updates wait, and shows them afterwards."""
    page = opened(path)
    text = page.evaluate(
        f"""selector => {{
          getSelection().selectAllChildren(document.querySelector(selector));
          {RESET_COUNTS}
          return String(getSelection());
        }}""",
        selected,
    )
    worker.flap()
    page.wait_for_function("() => answers > 0")

    assert text
    assert page.evaluate("String(getSelection())") == text
    assert page.evaluate("swaps") == 0
    expect(page.get_by_text("Updates wait while text is selected.")).to_be_visible()
    page.evaluate("getSelection().removeAllRanges()")
    page.wait_for_function("() => swaps > 0")
    expect(page.get_by_text("Updates wait")).to_have_count(0)


def test_a_control_that_is_being_edited_is_left_alone(opened, worker):
    """An update does not replace a field that is being edited."""
    page = opened("/workers")
    # In one step: an update in between would remove the field.
    page.evaluate(
        f"""() => {{
          document.querySelector("#fleet").insertAdjacentHTML("beforeend", "<input id=note>");
          document.querySelector("#note").focus();
          {RESET_COUNTS}
        }}"""
    )
    page.locator("#note").press_sequentially("half a sen")
    worker.flap()
    page.wait_for_function("() => answers > 0")

    assert page.evaluate("swaps") == 0
    expect(page.locator("#note")).to_have_value("half a sen")


def test_ticks_and_the_box_above_them_stay(opened, worker):
    """Ticks survive updates, and the box above them shows all, some or none."""
    page = opened("/workers")
    every = page.get_by_role("checkbox", name="All on this page")
    every.check()
    worker.seen_by(page, 2)

    expect(every).to_be_checked()
    rows = page.locator("tbody tr").count()
    expect(page.locator("tbody input:checked")).to_have_count(rows)
    page.get_by_role("checkbox", name="press-03").uncheck()
    page.evaluate("swaps = 0")
    worker.seen_by(page, 2)
    expect(page.locator("tbody input:checked")).to_have_count(rows - 1)
    assert page.evaluate(
        "[document.querySelector('#all').indeterminate, document.querySelector('#all').checked]"
    ) == [True, False]
    every.check()
    every.uncheck()
    expect(page.locator("tbody input:checked")).to_have_count(0)
    assert page.evaluate(
        "[document.querySelector('#all').indeterminate, document.querySelector('#all').checked]"
    ) == [False, False]
    page.get_by_role("checkbox", name="press-03").check()
    assert page.evaluate("document.querySelector('#all').indeterminate")


def test_scroll_positions_stay_and_a_table_scrolls_by_keyboard(opened, worker):
    """A wide table scrolls by keyboard, and updates keep its scroll position and that of the page."""
    page = opened("/workers")
    page.evaluate(
        "document.querySelector('main').style.maxWidth = '480px'; dispatchEvent(new Event('resize'))"
    )
    table = page.locator(".scroll").first
    page.get_by_text("Columns", exact=True).focus()
    page.keyboard.press("Tab")
    expect(table).to_be_focused()
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    page.wait_for_function(SCROLLED)
    page.evaluate("scrollTo(0, 120)")
    places = "[document.querySelector('.scroll').scrollLeft, scrollY]"
    before = page.evaluate(places)
    worker.seen_by(page, 2)

    assert before[1] == 120
    assert page.evaluate(places) == before
    expect(table).to_be_focused()


def test_a_table_that_does_not_scroll_is_not_a_tab_stop(opened):
    """It would only cost keyboard users a key press."""
    page = opened("/workers")

    assert page.locator(".scroll").first.get_attribute("tabindex") == "-1"


LIVE = {
    "/": "#live",
    "/workers": "#fleet",
    "/workers/press-03": "#live",
    "/refusals": "#live",
    "/audit?follow=yes": "#live",
    "/workers/press-07/waiting": "#waiting",
}


@pytest.mark.parametrize("path", [path for path in LIVE if not path.endswith("waiting")])
def test_every_live_page_says_when_it_may_be_outdated(opened, gateway, path):
    """While the Server cannot be reached, until a request succeeds again."""
    page = opened(path, url=gateway.url)
    expect(page.locator("#lost")).to_be_empty()
    gateway.fail()
    expect(page.locator("#lost")).to_contain_text(STALE)
    gateway.recover()
    expect(page.locator("#lost")).to_be_empty()


def test_a_page_that_waits_for_a_worker_says_when_it_may_be_outdated(opened, gateway):
    """While the Server cannot be reached."""
    page = opened("/add-worker", url=gateway.url)
    page.get_by_label("Name", exact=True).fill("awaited")
    page.get_by_role("button", name="Add Worker").click()
    expect(page.get_by_text("Waiting for awaited to connect…")).to_be_visible()
    gateway.fail()
    expect(page.locator("#lost")).to_contain_text(STALE)
    gateway.recover()
    expect(page.locator("#lost")).to_be_empty()


def test_the_event_stream_is_opened_again_after_a_502(opened, gateway, worker):
    """A browser does not reconnect an event stream after a 502, so the page opens a new one and follows changes again."""
    page = opened("/workers", url=gateway.url)
    streams = []
    page.on("response", lambda answer: streams.append(answer.status) if "/events" in answer.url else None)
    gateway.fail()
    expect(page.locator("#lost")).to_contain_text(STALE)
    while 502 not in streams:
        page.wait_for_event("response", lambda answer: "/events" in answer.url)
    gateway.recover()
    while 200 not in streams:
        page.wait_for_event("response", lambda answer: "/events" in answer.url)
    expect(page.locator("#lost")).to_be_empty()
    page.evaluate("swaps = 0")
    worker.seen_by(page, 1)


def test_an_open_page_survives_a_restart_behind_a_proxy(opened, gateway, world, worker):
    """Meanwhile it says that it may be outdated; then it follows changes again."""
    page = opened("/workers", url=gateway.url)
    world.server.terminate()
    expect(page.locator("#lost")).to_contain_text(STALE)
    world.start_server()
    expect(page.locator("#lost")).to_be_empty()
    page.evaluate("swaps = 0")
    worker.seen_by(page, 1)


def test_a_page_says_when_the_server_does_not_answer(opened, gateway):
    """A request without an answer counts as failed after a while."""
    page = opened("/refusals", url=gateway.url)
    gateway.hang()
    expect(page.locator("#lost")).to_contain_text(STALE, timeout=180_000)
    gateway.recover()
    expect(page.locator("#lost")).to_be_empty()


def test_the_page_of_a_deleted_worker_says_that_it_may_be_outdated(opened, worker):
    """When another operator deletes the Worker while its page is open."""
    worker.post("/api/workers", {"name": "brief", "id": "brief"})
    page = opened("/workers/brief")
    worker.delete("/api/workers/brief")

    expect(page.locator("#lost")).to_contain_text(STALE)


def test_following_starts_and_stops_with_its_checkbox(opened, worker):
    """*Follow live* takes effect without another button, and the URL changes with it."""
    page = opened("/audit")
    expect(page.get_by_text("The chain is intact.")).to_be_visible()
    page.get_by_label("Follow live").check()
    expect(page).to_have_url(re.compile("follow=yes"))
    newest = page.locator("#live tbody tr").first.get_attribute("id")
    worker.flap()
    page.wait_for_function("id => document.querySelector('#live tbody tr').id !== id", arg=newest)

    page.get_by_label("Follow live").uncheck()
    expect(page).not_to_have_url(re.compile("follow=yes"))
    expect(page.locator("#live:not([hx-get])")).to_have_count(1)


def test_clear_appears_with_a_filter_and_lists_are_filtered_while_typing(opened):
    """On the pages of Workers, audit events and API keys."""
    page = opened("/workers")
    search = page.get_by_label("Search Workers", exact=True)
    expect(page.get_by_role("link", name="Clear")).to_have_count(0)
    search.press_sequentially("zone=eu-1")
    expect(page.locator("tbody tr")).to_have_count(4)
    expect(search).to_be_focused()
    page.get_by_role("link", name="Clear").click()
    expect(page).to_have_url(re.compile("/workers$"))
    search.press_sequentially("key:press-keys")
    expect(page.get_by_text(re.compile("^[0-9]+ Workers? of"))).to_be_visible()
    expect(page.get_by_role("link", name="Clear")).to_be_visible()

    page = opened("/audit")
    page.get_by_label("Action").select_option("worker.disabled")
    expect(page.get_by_role("link", name="Clear")).to_be_visible()

    page = opened("/api-keys?q=press")
    expect(page.get_by_role("link", name="Clear")).to_be_visible()


def test_choosing_a_period_keeps_scroll_position_and_focus(opened, worker):
    """And updates keep the period."""
    page = opened("/")
    page.get_by_role("link", name="Week").focus()
    # The link must be in sight, or the click would scroll to it.
    page.get_by_role("link", name="Week").scroll_into_view_if_needed()
    place = page.evaluate("(scrollBy(0, 20), scrollY)")
    assert place > 0
    page.get_by_role("link", name="Week").click()
    expect(page).to_have_url(re.compile("period=week"))
    expect(page.get_by_role("link", name="Week")).to_have_attribute("aria-current", "true")
    expect(page.get_by_role("link", name="Week")).to_be_focused()
    assert page.evaluate("scrollY") == place
    page.evaluate("swaps = 0")
    worker.seen_by(page, 2)
    expect(page.get_by_role("link", name="Week")).to_have_attribute("aria-current", "true")
    assert page.evaluate("scrollY") == place


def test_announced_text_changes_within_an_existing_live_region(opened, world):
    """Screen readers often skip a region that is replaced."""
    page = opened("/add-worker")
    page.get_by_label("Name", exact=True).fill("refused-one")
    page.get_by_label("Worker ID").fill("refused-one")
    page.get_by_role("button", name="Add Worker").click()
    region = page.get_by_role("status").filter(has_text="Waiting for refused-one")
    region.evaluate("region => { window.region = region; }")
    form = {"grant_type": "client_credentials", "client_id": "refused-one", "client_secret": "x"}
    httpx2.post(f"{world.url}/oauth2/token", data=form, trust_env=False, timeout=180)
    expect(page.get_by_text("It was refused:")).to_be_visible()
    assert page.evaluate(
        "region.isConnected && region.role === 'status' && region.innerText.includes('refused')"
    )

    page.evaluate("window.said = document.getElementById('said')")
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.get_by_role("button", name="Copy the API key").click()
    expect(page.locator("#said[role=status]")).to_have_text("Copied")

    page = opened("/audit")
    expect(page.locator("#verified[role=status]")).to_contain_text("The chain is intact.")


@pytest.mark.parametrize("path", ["/refusals", "/refusals/{}"])
def test_a_reference_can_be_copied(opened, path):
    """In the list and on its page."""
    reference = opened("/refusals").locator(".inbox a").first.get_attribute("href").rpartition("/")[2]
    page = opened(path.format(reference))
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.get_by_role("button", name=f"Copy the reference {reference}").click()
    expect(page.locator("#said[role=status]")).to_have_text("Copied")
    assert page.evaluate("navigator.clipboard.readText()") == reference


def test_copying_twice_restores_the_buttons_label(opened):
    """A double click on *Copy* does not leave *Copied* as its label."""
    page = opened("/enrollment")
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    button = page.get_by_role("button", name="the command").first
    # The label is restored after a moment, so record every text that it has.
    button.evaluate(
        """button => {
          const label = button.querySelector(".label");
          window.shown = [];
          new MutationObserver(() => window.shown.push(label.textContent)).observe(label, {childList: true});
        }"""
    )
    button.dblclick()
    page.wait_for_function("() => window.shown.includes('Copied') && window.shown.at(-1) === 'Copy'")
    expect(button).to_have_text("Copy the command")


BROKEN_TIMES = """[...document.querySelectorAll("main time")].flatMap(time => [...time.textContent.matchAll(/\\S+/g)].filter(word => {
          const range = document.createRange();
          range.setStart(time.firstChild, word.index);
          range.setEnd(time.firstChild, word.index + word[0].length);
          return new Set([...range.getClientRects()].map(rect => rect.top)).size > 1;
        }).map(word => word[0]))"""


@pytest.mark.parametrize(
    "path", ["/", "/workers", "/workers/press-01", "/audit", "/refusals", "/operators", "/api-keys"]
)
def test_no_time_is_broken_within_a_word(opened, path):
    """On a phone "14 minutes ago" wraps between words."""
    page = opened(path, width=390)
    broken = {390: page.evaluate(BROKEN_TIMES)}
    page.set_viewport_size({"width": 320, "height": 800})
    broken[320] = page.evaluate(BROKEN_TIMES)

    assert broken == {390: [], 320: []}


@pytest.fixture(scope="module")
def long_address(world, worker):
    """Return a long IPv6 address from which a Worker and an operator have connected."""
    name = "wide"
    key_name = "key-of-the-fleet-in-the-eastern-hall-number-12345"
    worker.post("/api/workers", {"name": name, "id": name})
    issued = worker.post("/api/api-keys", {"name": key_name, "worker_ids": [name]})
    given = {"X-Forwarded-For": LONG_ADDRESS}
    with httpx2.Client(base_url=world.url, headers=given, trust_env=False, timeout=180) as host:
        form = {"grant_type": "client_credentials", "client_id": name, "client_secret": issued["key"]}
        token = host.post("/oauth2/token", data=form).raise_for_status().json()["access_token"]
        host.post("/oauth2/token", data=form | {"client_secret": "x"})
        host.post("/api/login", json={"username": ADMIN, "password": PASSWORD}).raise_for_status()
        poll = {"boot_id": "boot-0001", "host": {}}
        bearer = {"Authorization": f"Bearer {token}"}
        host.post("/api/worker/session", json=poll, headers=bearer).raise_for_status()
    return str(ipaddress.ip_address(LONG_ADDRESS))


@pytest.mark.parametrize("path", ["/workers?q=wide", "/workers/wide", "/audit", "/operators", "/account"])
def test_a_long_address_does_not_widen_a_table(opened, long_address, path):
    """It wraps, so the last column is in sight without scrolling."""
    page = opened(path)
    assert long_address in page.locator("main").inner_html()

    wider = """width => [document.documentElement, ...document.querySelectorAll(".scroll")]
      .filter(box => box.scrollWidth > Math.min(box.clientWidth, width)).map(box => box.outerHTML.slice(0, 120))"""
    found = {}
    for width in (1280, 1024, 390, 320):
        page.set_viewport_size({"width": width, "height": 800})
        found[width] = page.evaluate(wider, width)
    assert found == {1280: [], 1024: [], 390: [], 320: []}


def test_forced_colours_show_every_mark(opened):
    """In Windows high contrast, status marks and the chosen period can be distinguished."""
    page = opened("/", forced_colors="active")
    assert page.evaluate("matchMedia('(forced-colors: active)').matches")
    unseen = page.evaluate(
        """[...document.querySelectorAll("main .status i")].filter(dot => {
          const style = getComputedStyle(dot), behind = getComputedStyle(document.body).backgroundColor;
          return style.backgroundColor === behind && (parseFloat(style.borderTopWidth) === 0 || style.borderTopColor === behind);
        }).map(dot => dot.parentElement.innerText)"""
    )

    assert unseen == []
    chosen, other = page.evaluate(
        """["[aria-current]", ":not([aria-current])"].map(which => {
          const style = getComputedStyle(document.querySelector(".segmented a" + which)); return style.backgroundColor + style.color;
        })"""
    )
    assert chosen != other
