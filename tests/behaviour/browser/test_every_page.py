"""Promises about every page: accessible, small, usable on narrow screens, without scripts and by keyboard."""

import re

import httpx2
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Response, expect
from starlette.routing import compile_path
from tests.behaviour.browser.conftest import WITHIN_MS, Window
from tests.behaviour.browser.history import reload
from tests.behaviour.browser.world import ADMIN, PASSKEY_ID, PASSKEY_OWNER, REQUEST_ID, VIEWER
from tests.processes import PASSWORD

from lyftdata.core.snoozing import ID_LENGTH, alert_digest
from lyftdata.web import routes

# WCAG 2.2, levels A and AA.
RULES = {"runOnly": {"type": "tag", "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]}}
# Elements wider than the window, unless they are in a box that scrolls.
OVERFLOWING = """width => document.documentElement.scrollWidth <= width ? [] : [...document.querySelectorAll("main *")]
  .filter(e => e.getBoundingClientRect().right > width && !e.closest(".scroll, pre")).map(e => e.outerHTML.slice(0, 120))"""
# The transfer of a first visit, with compressed static files; and the page itself, which is never compressed.
MAX_TRANSFERRED_BYTES, MAX_PAGE_BYTES = 100_000, 45_000

# A Worker waits for approval in every test world.
ALERT_ID = alert_digest("approval", "approval")[:ID_LENGTH]

PAGES = {
    "sign in": "/login",
    "overview": "/",
    "overview of a week": "/?period=week",
    "jump": "/jump?q=press",
    "workers": "/workers",
    "workers, none fits": "/workers?q=nobody",
    "worker": "/workers/press-01",
    "disabled worker": "/workers/press-08",
    "disable a worker": "/workers/press-01/disable",
    "note and end of disabling": "/workers/press-08/disable",
    "enable a worker": "/workers/press-08/enable",
    "delete a worker": "/workers/press-01/delete",
    "worker with a copy": "/workers/press-02",
    "let a copy continue": "/workers/press-02/copies/C0PYTEST/continue",
    "let a copy enroll as new": "/workers/press-02/copies/C0PYTEST/reenroll",
    "enable workers": "/change-workers?action=enable&id=press-01&id=press-08&q=press",
    "disable workers": "/change-workers?action=disable&id=press-01&id=press-08&q=press",
    "delete workers": "/change-workers?action=delete&id=press-01&id=press-08&q=press",
    "agent versions": "/agent-versions",
    "agent versions of a year": "/agent-versions?period=year",
    "set the fleet policy": "/agent-versions/policy?warn_below=99&refuse_below=98&from=",
    "a fleet policy that contradicts itself": "/agent-versions/policy?warn_below=1&refuse_below=2&from=",
    "remove the fleet policy": "/agent-versions/clear",
    "new worker": "/add-worker",
    "enrollment": "/enrollment",
    "waiting for approval": "/approvals",
    "approve a worker": "/decide-approvals?action=approve&id={pending}",
    "deny a worker": "/decide-approvals?action=deny&id={pending}",
    "worker that waits for approval": "/workers/{pending}",
    "denied worker": "/workers/{denied}",
    "enrollment key with approval": "/enrollment/partner-hosts",
    "issue an enrollment key": "/issue-enrollment-key",
    "enrollment key": "/enrollment/etl-hosts",
    "rehearse an enrollment key": "/enrollment/startup/rehearse",
    "rotate an enrollment key": "/enrollment/etl-hosts/rotate",
    "end the old enrollment key": "/enrollment/etl-hosts/end-previous",
    "revoke an enrollment key": "/enrollment/etl-hosts/revoke",
    "api keys": "/api-keys",
    "api key": "/api-keys/press-keys",
    "issue a key": "/issue-api-key",
    "rotate a key": "/api-keys/press-keys/rotate",
    "end the old key": "/api-keys/press-keys/end-previous",
    "revoke a key": "/api-keys/press-keys/revoke",
    "allow a key": "/api-keys/contractor-key/allow",
    "signing keys": "/signing-keys",
    "rotate the signing keys": "/signing-keys/rotate",
    "resources": "/resources",
    "resource": "/resources/broker",
    "new resource": "/add-resource",
    "delete a resource": "/resources/broker/delete",
    "event destinations": "/event-destinations",
    "event destination": "/event-destinations/siem",
    "new event destination": "/add-event-destination",
    "skip an event": "/event-destinations/siem/skip",
    "delete an event destination": "/event-destinations/siem/delete",
    "incident": "/incident",
    "incident of a key": "/incident?subject=press-keys&since=24h",
    "cut off": "/incident/cut-off?subject=press-keys&whom=all&action=disable&revoke=yes",
    "progress of a cut-off": "/incident/cut-offs/{number}",
    "withdraw a signing key": "/signing-keys/{kid}/withdraw",
    "snooze an alert": f"/alerts/{ALERT_ID}/snooze",
    "refusals": "/refusals",
    "ignored refusals": "/refusals?state=ignored",
    "ignore refusals": "/ignore-refusals?code=unknown_worker&subject=address:203.0.113.99",
    "refusal": "/refusals/{reference}",
    "audit": "/audit",
    "operators": "/operators",
    "end all sessions": "/operators/vera/end-sessions",
    "reset an operator": "/operators/vera/reset",
    "limit an operator": "/operators/vera/scope",
    "delete an operator": "/operators/vera/delete",
    "requests": "/requests",
    "request of another operator": f"/requests/{REQUEST_ID}",
    "confirm a request": f"/requests/{REQUEST_ID}/confirm",
    "a second operator": "/second-operator",
    "actions that need two operators": "/second-operator/change",
    "api tokens": "/api-tokens",
    "api token": "/api-tokens/ci-deploy",
    "issue an api token": "/issue-api-token",
    "revoke an api token": "/api-tokens/ci-deploy/revoke",
    "sign in a command line": "/device",
    "confirm a command line": "/device?user_code={user_code}",
    "account": "/account",
    "password": "/account/password",
    "set up a second factor": "/account/second-factor",
    "remove a second factor": "/account/second-factor/remove",
    "remove another's second factor": "/operators/vera/second-factor",
    "add a passkey": "/account/passkeys/add",
    "remove another's passkey": f"/operators/{PASSKEY_OWNER}/passkeys/{PASSKEY_ID}/remove",
    "confirm that it is you": "/account/confirm?next=%2Foperators",
    "not there": "/workers/nobody",
}
# The only one of these rules that depends on the colour scheme.
CONTRAST = {"runOnly": {"type": "rule", "values": ["color-contrast"]}}
WIDER_TABLES = "[...document.querySelectorAll('.scroll')].filter(e => e.scrollWidth > e.clientWidth).map(e => e.innerText)"
OUTLINE = """(() => { const s = getComputedStyle(document.activeElement);
  return document.activeElement === document.body ? 'solid' : s.outlineStyle; })()"""
TAB_STOPS = 12


@pytest.fixture(scope="module")
def windows(chromium, world):
    """Return a function that returns a signed-in window with given options, one for each, since signing in is slow."""
    made = {}

    def window(operator="admin", **how):
        key = (operator, *sorted(how.items()))
        if key not in made:
            width = how.pop("width", 1280)
            context = chromium.new_context(viewport={"width": width, "height": 900}, **how)
            made[key] = Window(context, world.url)
            made[key].sign_in(operator)
        return made[key]

    yield window
    for window_ in made.values():
        window_.context.close()
    assert [complaint for w in made.values() for complaint in w.complaints] == []


@pytest.fixture
def shown(world, windows):
    """Return a function that opens a page as a user who may see it."""

    def show(path, **how):
        window = windows("stranger" if path == "/login" else "admin", **how)
        return window.go(world.fill(path))

    return show


@pytest.fixture
def first_visit(open_window, world, windows):
    """Return a function that opens a page with an empty cache, and returns it with its responses by URL."""

    def visit(path):
        how = {} if path == "/login" else {"storage_state": windows().context.storage_state()}
        window = open_window(world.url, viewport={"width": 1280, "height": 900}, **how)
        loaded: dict[str, Response] = {}
        window.page.on("response", lambda answer: loaded.setdefault(answer.url, answer))
        return window.go(world.fill(path)), loaded

    return visit


def barriers(page, rules):
    """Return the violations that axe finds on a page, with their elements."""
    violations = Axe().run(page, options=rules).response["violations"]
    return [(found["id"], [node["html"] for node in found["nodes"]]) for found in violations]


def outlines(page):
    """Return the outline style of each tab stop."""
    styles = []
    for _ in range(TAB_STOPS):
        page.keyboard.press("Tab")
        styles.append(page.evaluate(OUTLINE))
    return styles


def at_width(page, width, script, *arguments):
    """Return a script's result in a window of a given width."""
    page.set_viewport_size({"width": width, "height": 900})
    return page.evaluate(script, *arguments)


def add_limited_operator(url, name):
    """Add an operator who is limited to one team and has set a password."""
    with httpx2.Client(base_url=url, trust_env=False, timeout=180) as http:

        def post(path, body, token=""):
            headers = {"Authorization": f"Bearer {token}"} if token else {}
            return http.post(f"/api/{path}", json=body, headers=headers).raise_for_status().json()

        admin = post("login", {"username": ADMIN, "password": PASSWORD})["token"]
        first = "xxx " + PASSWORD
        post("operators", {"name": name, "role": "admin", "password": first, "scope": {"team": "etl"}}, admin)
        theirs = post("login", {"username": name, "password": first})["token"]
        http.post(
            "/api/me/password",
            json={"current_password": first, "new_password": PASSWORD},
            headers={"Authorization": f"Bearer {theirs}"},
        ).raise_for_status()


def test_auto_enrollment_of_a_team_has_no_barriers(world, open_window):
    """An operator who is limited to labels sees another version of the page; axe finds nothing there, in light and dark mode."""
    add_limited_operator(world.url, "tess")
    window = open_window(world.url, viewport={"width": 1280, "height": 900})
    window.sign_in("tess")
    page = window.go("/enrollment")
    expect(page.get_by_text("to which you are limited")).to_be_visible()
    expect(page.get_by_role("link", name="etl-hosts")).to_be_visible()

    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        assert barriers(page, RULES) == []


def test_no_page_is_left_out():
    """Every page of the Server is in PAGES; fragments, streams and downloads are not pages."""
    others = {
        "/events",
        "/added-workers/{number}/waiting",
        "/workers/{worker_id}/waiting",
        "/enrollment/{name}/waiting",
        "/audit/verified",
        "/audit/export",
        "/incident/export",
        # Needs an operator with a passkey: see test_passkeys.py.
        "/account/passkeys/{passkey_id}/remove",
    }
    opened = [re.sub(r"{\w+}", "7", path.partition("?")[0]) for path in PAGES.values()]
    served = {entry.path for entry in routes.PAGES if entry.method == "GET"} - others

    assert [path for path in sorted(served) if not any(compile_path(path)[0].match(o) for o in opened)] == []


@pytest.mark.parametrize("path", PAGES.values())
def test_every_page_is_small_and_accessible(world, first_visit, path):
    """
    The requirements of every page, by the keys of `found`.

    - heavy: a first visit transfers less than 100 kB and the page has less than 45 kB, all from this Server;
    - barriers: axe finds no violation of WCAG 2.2, levels A and AA, in light and dark mode;
    - focus: each tab stop has an outline;
    - wider, sticks out: down to 320 pixels (WCAG 1.4.10) nothing sticks out, and only text to be pasted is in a box that scrolls.
    """
    page, loaded = first_visit(path)
    answers = {url: answer for url, answer in list(loaded.items()) if "/events?" not in url}
    sizes = {url: answer.request.sizes()["responseBodySize"] for url, answer in answers.items()}
    if path == "/audit":
        expect(page.get_by_text("The chain is intact.")).to_be_visible()

    assert min(sizes.values()) > 0
    found = {
        "loaded from elsewhere": [url for url in sizes if not url.startswith(world.url)],
        "heavy": sizes if sum(sizes.values()) >= MAX_TRANSFERRED_BYTES else {},
        "heavy page": {
            url: len(a.body())
            for url, a in answers.items()
            if "/static/" not in url and len(a.body()) >= MAX_PAGE_BYTES
        },
        "barriers": barriers(page, RULES),
        "focus": [style for style in outlines(page) if style == "none"],
    }
    page.emulate_media(color_scheme="dark")
    found["barriers in dark"] = barriers(page, CONTRAST)
    page.emulate_media(color_scheme="light")
    for width in (768, 390, 320):
        found[f"table wider than {width}"] = at_width(page, width, WIDER_TABLES)
    for width in (390, 320):
        found[f"sticks out of {width}"] = at_width(page, width, OVERFLOWING, width)

    assert {name: problems for name, problems in found.items() if problems} == {}


def test_a_row_folded_for_a_phone_is_still_a_table_row(shown):
    """A screen reader on a phone finds the table, its rows by their headings, and their actions."""
    page = shown("/operators", width=390)
    vera = page.get_by_role("row").filter(has=page.get_by_role("rowheader", name="vera"))

    vera.get_by_role("rowheader").evaluate("heading => heading.scrollIntoView({block: 'center'})")
    expect(vera.get_by_role("link", name="Delete…")).to_be_in_viewport()
    expect(page.get_by_role("columnheader", name="Role")).to_have_count(1)


def test_pages_on_a_phone_have_no_barriers(shown):
    """Elements with another layout still have names and contrast."""
    for path in ("/", "/workers", "/workers/press-01", "/operators"):
        found = Axe().run(shown(path, width=390), options=RULES)
        assert [v["id"] for v in found.response["violations"]] == []


@pytest.mark.parametrize("path", PAGES.values())
def test_everything_can_be_read_without_scripts(shown, path):
    """The headings are there, and controls that need scripts are not shown."""
    without = shown(path, java_script_enabled=False)
    headings = without.get_by_role("heading").all_inner_texts()

    assert headings[0]
    assert without.locator("button[hidden]:visible").count() == 0
    if path == "/enrollment":
        expect(without.get_by_role("heading", name="Kubernetes")).to_be_visible()
    if path == "/audit":
        without.get_by_role("link", name="Verify the whole log").click()
        expect(without.get_by_text("The chain is intact.")).to_be_visible()


def test_lists_are_filtered_and_paged_without_scripts(shown):
    """The filter is an ordinary form."""
    page = shown("/workers", java_script_enabled=False)
    page.get_by_label("Search Workers").fill("zone=eu-1")
    page.get_by_role("button", name="Search").click()
    expect(page).to_have_url(re.compile("q=zone"))
    page.get_by_role("navigation", name="Filters").get_by_role("link", name="online").click()

    expect(page.get_by_label("Search Workers")).to_have_value("zone=eu-1 status:online")
    expect(page.locator("tbody tr")).to_have_count(3)
    page.get_by_role("checkbox", name="press-01").check()
    page.get_by_role("button", name="Disable…").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Disable 1 Worker?")


def test_filters_work_while_typing(shown):
    """With scripts the list follows the text, and the URL can be reloaded."""
    page = shown("/workers")
    page.get_by_label("Search Workers").press_sequentially("binder ")
    expect(page.locator("tbody tr")).to_have_count(4)
    expect(page.get_by_role("link", name="Clear")).to_be_visible()
    page.get_by_label("Search Workers").press_sequentially("stat:x")
    expect(page.locator("#fleet")).to_contain_text("Did you mean 'status:'?")
    expect(page.locator("tbody tr")).to_have_count(0)
    page.get_by_label("Search Workers").fill("binder host:example status:online")
    expect(page.locator("tbody tr")).to_have_count(3)
    expect(page).to_have_url(re.compile("q=binder.*status%3Aonline"))
    expect(page.locator("#lost")).to_be_empty()
    reload(page, heading="Workers")
    expect(page.locator("tbody tr")).to_have_count(3)


def test_pages_can_be_used_by_keyboard(shown):
    """The first tab stop skips the menu, arrow keys change tabs, and a form can be sent with Enter."""
    page = shown("/enrollment")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to content")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#main")).to_be_focused()

    page.get_by_role("tab", name="Shell").focus()
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("tab", name="systemd")).to_be_focused()
    expect(page.get_by_role("tabpanel", name="systemd")).to_be_visible()
    expect(page.get_by_role("tabpanel", name="Shell")).to_be_hidden()
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    expect(page.get_by_role("tab", name="Kubernetes")).to_be_focused()

    page = shown("/refusals")
    page.get_by_role("searchbox").focus()
    page.keyboard.type("press-99")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Unknown Worker")).to_be_visible()


def test_an_updated_list_keeps_its_selection(shown, world):
    """Selecting takes a while, and Workers connect and disconnect meanwhile."""
    page = shown("/workers")
    page.get_by_role("checkbox", name="press-03").check()
    with page.expect_response(lambda answer: "/workers" in answer.url):
        page.evaluate("htmx.trigger(document.body, 'fleet')")

    page.wait_for_timeout(200)
    expect(page.get_by_role("checkbox", name="press-03")).to_be_checked()
    expect(page.get_by_role("checkbox", name="press-04")).not_to_be_checked()


def test_a_viewers_pages_have_no_barriers(windows):
    """Pages without the controls that change something are accessible too."""
    for path in ("/", "/workers", "/workers/press-01", "/operators"):
        page = windows(VIEWER).go(path)
        assert Axe().run(page, options=RULES).violations_count == 0
        assert PASSWORD not in page.content()


def is_framed(frame):
    """Return whether an embedded frame has loaded, either its page or the browser's error page."""
    return frame.parent_frame is not None and frame.url != "about:blank"


# The computed colours of the page's elements.
PRINTED = """[...document.querySelectorAll("body, main, main h1, main h2, main td, main p")].flatMap(e => {
  const style = getComputedStyle(e);
  return [style.color, style.backgroundColor].filter(colour => colour !== "rgba(0, 0, 0, 0)"); })"""
PRESSED = """[...document.querySelectorAll("nav, button, .button, .jump input, form.filters, .tick input")]
  .filter(e => e.checkVisibility()).map(e => e.outerHTML.slice(0, 90))"""
# Elements that show a state by colour or shape: each must differ from the background.
UNSEEN = """[...document.querySelectorAll(".status i, .segmented [aria-pressed=true], .segmented a[aria-current], .side a[aria-current], .facets .chip[aria-current]")]
  .filter(e => { const style = getComputedStyle(e), page = getComputedStyle(document.body).backgroundColor;
    const isFilled = ![page, "rgba(0, 0, 0, 0)"].includes(style.backgroundColor);
    const isDrawn = parseFloat(style.borderTopWidth) > 0 && style.borderTopColor !== page;
    return !isFilled && !isDrawn; }).map(e => e.parentElement.outerHTML.slice(0, 120))"""


@pytest.mark.parametrize(
    "path", ["/", "/workers", "/audit", "/incident?subject=press-keys&since=24h&full=yes"]
)
def test_a_page_is_printed_black_on_white(shown, path):
    """Also in dark mode: dark text, no dark areas and no controls; plots keep their axes."""
    page = shown(path, color_scheme="dark")
    page.emulate_media(media="print", color_scheme="dark")
    colours = {tuple(map(int, re.findall(r"[0-9]+", colour)[:3])) for colour in page.evaluate(PRINTED)}
    pressed = page.evaluate(PRESSED)
    ticks = page.locator(".plot text.tick")
    are_axes_there = path != "/" or ticks.first.is_visible()
    page.emulate_media(media="screen", color_scheme="dark")

    assert {colour for colour in colours if 180 < max(colour) < 255} == set()
    assert (255, 255, 255) in colours
    assert (0, 0, 0) in colours
    assert pressed == []
    assert are_axes_there


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(
    "path", ["/?period=day", "/workers", "/workers?q=status:online", "/api-keys", "/refusals"]
)
def test_every_state_is_visible_in_forced_colours(shown, path, scheme):
    """In a high-contrast theme with few colours, a status dot is filled or outlined and a chosen item is marked."""
    page = shown(path, color_scheme=scheme, forced_colors="active")

    assert page.locator(".status i, [aria-current], [aria-pressed=true]").count() > 1
    assert page.evaluate(UNSEEN) == []


ROW_LABELS = """row => { const cell = row.querySelector('td.labels'), more = cell.querySelector('.more');
  const seen = [...cell.querySelectorAll('.chip')].filter(chip => chip.checkVisibility()).map(chip => chip.innerText.trim());
  const quote = getComputedStyle(more, '::after').content;
  return [seen, quote === 'none' ? more.innerText : JSON.parse(quote), cell.scrollWidth > cell.clientWidth]; }"""


@pytest.mark.parametrize(
    ("width", "expected"),
    [(1280, [["zone=eu-1"], "+2", False]), (1600, [["zone=eu-1", "line=1", "gpu"], "", False])],
)
def test_a_row_names_the_labels_that_fit_and_how_many_more_there_are(
    open_window, world, windows, width, expected
):
    """No label is cut off: a laptop shows the first one and a number, a wide screen three."""
    signed_in = windows().context.storage_state()
    window = open_window(world.url, viewport={"width": width, "height": 800}, storage_state=signed_in)
    page = window.go("/workers?q=press-01")
    row = page.get_by_role("row").filter(has=page.get_by_role("rowheader", name="press-01"))

    found = row.evaluate(ROW_LABELS)

    assert [sorted(found[0]), *found[1:]] == [sorted(expected[0]), *expected[1:]]


def test_no_page_can_be_framed(chromium, world, windows):
    """Another site cannot use a Server's page for clickjacking."""
    context = chromium.new_context(storage_state=windows().context.storage_state())
    context.set_default_timeout(WITHIN_MS)
    page = context.new_page()
    with page.expect_event("framenavigated", is_framed, timeout=WITHIN_MS):
        page.set_content(
            f'<iframe src="{world.url}/workers/press-01/delete" width="600" height="600"></iframe>'
        )
    framed = page.frames[1]

    assert "Delete" not in framed.content()
    context.close()


def test_a_change_during_an_update_is_not_missed(shown):
    """The pending answer was made before the change and replaces the element that would ask again: the page asks once more."""
    page = shown("/workers")
    page.wait_for_timeout(1_500)
    asked = []
    page.on("request", lambda request: asked.append(request.url) if "hx-request" in request.headers else None)

    page.evaluate("for (const time of [1, 2, 3]) htmx.trigger(document.body, 'fleet')")

    while len(asked) < 2:
        page.wait_for_event("request", timeout=WITHIN_MS)
    assert len(asked) == 2
