"""Changes to many Workers in a browser: none happens by accident, and nothing typed is lost."""

import re

import pytest
from playwright.sync_api import expect
from tests.behaviour.browser.conftest import WITHIN_MS, Window
from tests.behaviour.browser.history import go_back, reload
from tests.behaviour.browser.world import ADMIN

LIST = "/workers?q=press-0+zone%3Deu-2"
# So wide that a row shows all its labels.
WIDE = {"width": 1600, "height": 900}


@pytest.fixture(scope="module")
def admin(chromium, world):
    """Return an admin's window; signing in is slow, so tests share it."""
    window = Window(chromium.new_context(viewport=WIDE), world.url)
    window.sign_in()
    expect(window.page.get_by_role("heading", level=1)).to_have_text("Overview")
    yield window
    assert window.complaints == []
    window.context.close()


def state_of(page, name):
    """Return the locator of a Worker's status in the list."""
    return page.get_by_role("row").filter(has=page.get_by_role("rowheader", name=name)).locator(".status")


@pytest.mark.parametrize("scripts", [True, False])
def test_enter_adds_labels_or_does_nothing(chromium, world, admin, scripts):
    """In the field for labels it presses that field's button; on a checkbox, or without scripts, it does nothing."""
    context = chromium.new_context(
        java_script_enabled=scripts, storage_state=admin.context.storage_state(), viewport=WIDE
    )
    page = context.new_page()
    page.set_default_timeout(WITHIN_MS)
    sent = []
    page.on("request", lambda request: sent.append(request) if request.is_navigation_request() else None)
    page.goto(world.url + "/workers?q=press-08")
    sent.clear()
    page.get_by_role("checkbox", name="press-08").check()
    page.get_by_role("checkbox", name="press-08").press("Enter")
    page.get_by_label("Labels to add").fill("note=quarantined")
    page.get_by_label("Labels to add").press("Enter")

    if scripts:
        expect(page.get_by_role("status").first).to_have_text("1 Worker was labelled.")
        expect(page.get_by_text("note=quarantined")).to_be_visible()
    expect(state_of(page, "press-08")).to_have_text("disabled")
    expect(page).to_have_url(f"{world.url}/workers?q=press-08")
    assert [request.method for request in sent] == (["POST", "GET"] if scripts else [])
    context.close()


def test_enter_changes_nothing_in_any_form_with_several_buttons(admin, world):
    """On each page, Enter in a field of such a form never triggers a change that belongs to one of its buttons."""
    for path in (
        "/",
        "/workers",
        "/workers/press-01",
        "/add-worker",
        "/api-keys",
        "/api-keys/press-keys/rotate",
        "/resources/broker",
        "/operators",
        "/account",
        "/audit",
        "/refusals",
        "/enrollment",
    ):
        page = admin.go(path)
        several = page.evaluate(
            # The time zone switch has only buttons, and no field to press Enter in.
            "[...document.forms].filter(f => f.querySelector('input:not([type=hidden]), select, textarea'))"
            ".map(f => [...f.elements].filter(e => e.type === 'submit'))"
            ".filter(b => b.length > 1).map(b => [b[0].formMethod === 'dialog', b.map(e => e.innerText.trim())])"
        )
        assert all(is_first_harmless for is_first_harmless, _ in several), (path, several)


def test_enabling_many_workers_asks_for_confirmation(admin):
    """The page says how many of them were disabled by an operator; *Cancel* changes nothing."""
    page = admin.go(LIST)
    for name in ("press-08", "press-02"):
        page.get_by_role("checkbox", name=name).check()
    page.get_by_role("button", name="Enable…").click()

    expect(page.get_by_role("heading", level=1)).to_have_text("Enable 2 Workers?")
    expect(page.get_by_text("1 Worker was disabled by an operator.")).to_be_visible()
    page.get_by_role("link", name="Cancel").click()
    expect(state_of(page, "press-08")).to_have_text("disabled")


def test_cancel_and_back_keep_the_filter_and_the_selection(admin, world):
    """From the confirmation page, *Cancel* leads to the list as it was left, and Back to its filter."""
    page = admin.go(LIST)
    page.get_by_role("checkbox", name="press-04").check()
    page.get_by_label("Labels to add").fill("typed=1")
    page.get_by_role("button", name="Disable…").click()
    page.get_by_role("link", name="Cancel").click()

    expect(page.get_by_label("Search Workers")).to_have_value("press-0 zone=eu-2")
    expect(page.get_by_role("checkbox", name="press-04")).to_be_checked()
    expect(page.get_by_role("checkbox", name="press-02")).not_to_be_checked()
    expect(page.get_by_label("Labels to add")).to_have_value("typed=1")
    page.get_by_role("button", name="Delete…").click()
    go_back(page, leaving=re.compile("^Delete "))
    expect(page.get_by_label("Search Workers")).to_have_value("press-0 zone=eu-2")


def test_invalid_labels_keep_the_filter_the_selection_and_the_text(admin):
    """The page says what is wrong; once corrected, the same Workers get the label, and Back does not lead to an error page."""
    page = admin.go(LIST)
    page.get_by_role("checkbox", name="press-06").check()
    page.get_by_label("Labels to add").fill("a b=c")
    page.get_by_role("button", name="Add labels").click()
    expect(page.get_by_role("alert").filter(has_text=re.compile("."))).to_be_visible()
    expect(page.get_by_role("checkbox", name="press-06")).to_be_checked()
    expect(page.get_by_label("Labels to add")).to_have_value("a b=c")
    expect(page.get_by_label("Search Workers")).to_have_value("press-0 zone=eu-2")

    page.get_by_label("Labels to add").fill("note=new")
    page.get_by_role("button", name="Add labels").click()

    expect(page.get_by_role("status").first).to_have_text("1 Worker was labelled.")
    expect(page.get_by_text("note=new")).to_be_visible()
    go_back(page, leaving="Workers")
    expect(page.get_by_role("heading", level=1)).to_have_text("Workers")
    expect(page.get_by_label("Search Workers")).to_have_value("press-0 zone=eu-2")


def test_back_after_a_deletion_shows_a_page(admin, world):
    """The list keeps its filter and reports the deletion once; Back says that the Workers are gone, and sends nothing again."""
    page = admin.go("/workers?q=binder-04&sort=-created")
    page.get_by_role("checkbox", name="binder 4").check()
    page.get_by_role("button", name="Delete…").click()
    page.get_by_role("button", name="Delete").click()
    expect(page.get_by_role("status").first).to_have_text("1 Worker was deleted.")
    expect(page).to_have_url(f"{world.url}/workers?q=binder-04&sort=-created")

    reload(page, heading="Workers")
    expect(page.get_by_role("heading", level=1)).to_have_text("Workers")
    expect(page.locator(".notice.good")).to_have_count(0)
    go_back(page, leaving="Workers")
    expect(page.get_by_text("None of these Workers is in the list any more.")).to_be_visible()
    page.get_by_role("link", name="Back to the Workers").click()
    expect(page).to_have_url(re.compile(r"q=binder-04"))


def test_back_to_a_rejected_form_shows_the_form(admin, world):
    """A rejected form is in the history as its page, so Back does not ask whether to send it again."""
    page = admin.go("/issue-api-key")
    page.get_by_label("Name", exact=True).fill("fault-keys")
    page.get_by_label("Worker IDs").fill("nobody-there")
    page.get_by_role("button", name="Issue").click()
    expect(page.get_by_role("alert").filter(has_text=re.compile("."))).to_be_visible()
    admin.go("/account")
    go_back(page, leaving=ADMIN)

    expect(page.get_by_role("heading", level=1)).to_have_text("Issue an API key")


def test_an_outdated_result_is_not_shown_after_a_reload(admin, world):
    """A Worker is disabled here and enabled in another tab: after a reload *Disabled* is not shown."""
    page = admin.go("/workers/press-05/disable")
    page.get_by_role("button", name="Disable").click()
    expect(page.get_by_role("status").filter(has_text="Disabled.")).to_be_visible()
    other = admin.open_tab()
    other.goto(world.url + "/workers/press-05/enable")
    other.get_by_role("button", name="Enable").click()
    expect(other.get_by_role("status").filter(has_text="Enabled.")).to_be_visible()

    reload(page, heading=re.compile("press-05"))

    expect(page.locator(".notice.good")).to_have_count(0)
    expect(page.get_by_role("link", name="Disable…")).to_be_visible()
    other.close()


def test_labels_saved_by_another_operator_are_not_overwritten(admin, world):
    """With one Worker in two tabs, the second to save sees what the first has saved, and keeps what was typed."""
    page = admin.go("/workers/binder-03")
    other = admin.open_tab()
    other.goto(world.url + "/workers/binder-03")
    page.get_by_role("textbox", name="Labels").fill("owner=ann")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("status").filter(has_text="Saved.")).to_be_visible()

    other.get_by_role("textbox", name="Labels").fill("rack=7")
    other.get_by_role("button", name="Save").click()

    expect(other.get_by_role("alert").filter(has_text="It is now: labels: owner=ann.")).to_be_visible()
    expect(other.get_by_role("textbox", name="Labels")).to_have_value("rack=7")
    expect(other.get_by_role("link", name="owner=ann")).to_be_visible()
    other.get_by_role("textbox", name="Labels").fill("owner=ann,rack=7")
    other.get_by_role("button", name="Save").click()
    expect(other.get_by_role("link", name="rack=7")).to_be_visible()
    expect(other.get_by_role("link", name="owner=ann")).to_be_visible()
    other.close()


def test_a_click_with_shift_selects_a_range(admin):
    """The bar shows the number of selected Workers and stays in sight; sorting keeps the search."""
    page = admin.go("/workers?q=press-0")
    page.get_by_role("checkbox", name="press-02").click()
    expect(page.get_by_text("With 1 ticked:")).to_be_visible()
    page.get_by_role("checkbox", name="press-05").click(modifiers=["Shift"])
    expect(page.get_by_text("With 4 ticked:")).to_be_in_viewport()
    page.get_by_role("checkbox", name="press-03").click()
    page.get_by_role("checkbox", name="press-04").click(modifiers=["Shift"])
    expect(page.get_by_text("With 2 ticked:")).to_be_visible()

    page.get_by_role("link", name="Last seen").click()
    expect(page).to_have_url(re.compile("q=press-0&sort=-seen"))
    expect(page.get_by_role("columnheader", name="Last seen")).to_have_attribute("aria-sort", "descending")


def test_a_bulk_change_can_be_undone_by_keyboard(admin):
    """*Undo* keeps the filter; afterwards the Workers are as before, and the button is gone."""
    page = admin.go("/workers?q=press-0+zone%3Deu-2")
    for name in ("press-02", "press-04"):
        page.get_by_role("checkbox", name=name).check()
    page.get_by_role("button", name="Disable…").click()
    page.get_by_role("button", name="Disable").click()
    expect(page.get_by_role("status").first).to_have_text("2 Workers were disabled.")
    expect(state_of(page, "press-02")).to_have_text("disabled")

    page.get_by_role("button", name="Undo").press("Enter")

    expect(page.get_by_role("status").first).to_have_text("Undone: 2 Workers are as before.")
    expect(state_of(page, "press-02")).not_to_have_text("disabled")
    expect(page.get_by_label("Search Workers")).to_have_value("press-0 zone=eu-2")
    expect(page.get_by_role("button", name="Undo")).to_have_count(0)


# Hold a page's timers until the test runs them.
HOLD_TIMERS = """(() => {
  const real = window.setTimeout;
  let held = [];
  window.setTimeout = (action, ms) => held ? (held.push([action, ms]), 0) : real(action, ms);
  window.runTimers = () => { const all = held; held = null; for (const [action, ms] of all) real(action, ms); };
})();"""


class LiveRegion:
    """A live region in Chromium's accessibility tree, which screen readers use."""

    def __init__(self, page, element_id):
        self._cdp = page.context.new_cdp_session(page)
        self._cdp.send("Accessibility.enable")
        found = self._cdp.send("Runtime.evaluate", {"expression": f"document.getElementById('{element_id}')"})
        self._object = found["result"]["objectId"]

    def read(self):
        """Return the node's ID, its role, how it is announced, and its text."""
        about = {"objectId": self._object, "fetchRelatives": False}
        (node,) = self._cdp.send("Accessibility.getPartialAXTree", about)["nodes"]
        assert not node["ignored"]
        live = {each["name"]: each["value"]["value"] for each in node["properties"]}
        every = {each["nodeId"]: each for each in self._cdp.send("Accessibility.getFullAXTree")["nodes"]}

        def text(node_id):
            each = every[node_id]
            if each.get("role", {}).get("value") == "StaticText":
                return each["name"]["value"]
            return "".join(map(text, each.get("childIds", [])))

        return node["nodeId"], node["role"]["value"], live["live"], live["atomic"], text(node["nodeId"])


@pytest.mark.parametrize(
    ("path", "fields", "button", "region", "role", "live", "said"),
    [
        ("/workers/press-03", {"Labels": "rack=7"}, "Save", "news", "status", "polite", "Saved."),
        (
            "/workers/press-03",
            {"Labels": "a b=c"},
            "Save",
            "alarm",
            "alert",
            "assertive",
            "Labels: keys must be",
        ),
    ],
)
def test_the_result_of_an_action_is_announced(admin, path, fields, button, region, role, live, said):
    """The region is in the accessibility tree and empty before its text comes, since screen readers skip text that is there at load."""
    page = admin.open_tab()
    page.add_init_script(HOLD_TIMERS)
    page.goto(admin.url + path)
    for name, text in fields.items():
        page.get_by_role("textbox", name=name).fill(text)
    page.get_by_role("button", name=button).click()
    message = page.locator(f"[data-say={region}]")
    expect(message).to_be_visible()
    known = LiveRegion(page, region)
    before, y = known.read(), message.bounding_box()["y"]
    node_id = before[0]
    assert before == (node_id, role, live, True, "")

    page.evaluate("runTimers()")

    expect(page.locator(f"#{region}")).to_contain_text(said)
    after = known.read()
    assert after[:4] == (node_id, role, live, True)
    assert said in after[4]
    # Visually nothing has moved.
    assert page.locator(f"#{region} .notice").bounding_box()["y"] == y
    page.close()


def test_an_error_in_a_search_is_announced_while_typing(admin):
    """Within a region that was there before, and no longer once the search is valid."""
    page = admin.open_tab()
    page.goto(admin.url + "/workers?q=press-0")
    wrong, counted = LiveRegion(page, "wrong"), LiveRegion(page, "count")
    assert wrong.read()[1:] == ("alert", "assertive", True, "")
    found = counted.read()

    page.get_by_label("Search Workers").fill("hsot:x")

    expect(page.locator("#wrong")).to_contain_text("Did you mean 'host:'?")
    assert wrong.read()[0] == LiveRegion(page, "wrong").read()[0]
    assert "Did you mean 'host:'?" in wrong.read()[4]
    page.get_by_label("Search Workers").fill("press-01")
    expect(page.locator("#count")).to_contain_text("1 Worker of")
    assert counted.read()[:4] == found[:4]
    assert (wrong.read()[4], counted.read()[4].startswith("1 Worker of")) == ("", True)
    page.close()
