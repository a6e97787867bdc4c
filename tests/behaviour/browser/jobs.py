"""
The 21 jobs of operators, each with the number of steps that it may take.

A step is a click, a field that is filled in, however long the text, or a key that leads to the next page; looking and scrolling do not
count. Each job begins on the overview and does not touch what other jobs need, so they pass in any order. A job's docstring is its
row in the operators' guide.
"""

import re
from collections.abc import Callable, Mapping

from playwright.sync_api import Locator, Page, expect
from tests.behaviour.browser.conftest import Window
from tests.behaviour.browser.world import VIEWER
from tests.processes import PASSWORD

LEAKED = 700
SHOWN_ONCE = ".copyable code"


class Steps:
    """
    The actions of an operator, counted as steps.

    Args:
        window: The window in which they are signed in.
        references: References of refusals, by their codes.
        browser: The name of the browser, used in names that they give, since several browsers work on one Server.
    """

    def __init__(self, window: Window, references: Mapping[str, str], browser: str) -> None:
        self.window = window
        self.page: Page = window.go("/")
        self.references = references
        self.browser = browser
        self.count = 0

    def click(self, target: Locator) -> None:
        """Click: one step."""
        self.count += 1
        target.click()

    def follow(self, name: str | re.Pattern[str], *, within: str = "main") -> None:
        """Click a link."""
        exact = isinstance(name, str)
        self.click(self.page.locator(within).get_by_role("link", name=name, exact=exact).first)

    def menu(self, name: str) -> None:
        """Click a link of the menu."""
        self.follow(name, within="nav[aria-label=Main]")

    def push(self, name: str | re.Pattern[str]) -> None:
        """Click a button."""
        exact = isinstance(name, str)
        self.click(self.page.locator("main").get_by_role("button", name=name, exact=exact).first)

    def fill(self, label: str, text: str) -> None:
        """Fill in a field: one step, however long the text."""
        self.count += 1
        self.page.locator("main").get_by_label(label, exact=True).first.fill(text)

    def choose(self, label: str, value: str) -> None:
        """Choose an option: one step."""
        self.count += 1
        self.page.locator("main").get_by_label(label, exact=True).first.select_option(value)

    def jump_to(self, text: str) -> None:
        """Type into the jump box of every page and press Enter: two steps."""
        self.count += 2
        self.page.get_by_role("combobox", name="Jump to").fill(text)
        self.page.keyboard.press("Enter")

    def sees(self, text: str | re.Pattern[str], *, within: str = "main") -> None:
        """Wait until the page shows a text; looking is not a step."""
        expect(self.page.locator(within).first).to_contain_text(text)

    def is_at(self, heading: str | re.Pattern[str]) -> None:
        """Wait for the heading of a page."""
        expect(self.page.locator("main h1")).to_have_text(heading)


def see_whether_all_are_connected(o: Steps) -> None:
    """See whether all expected Workers are connected."""
    o.sees(
        re.compile(r"expected Workers? (is|are) not connected|went offline|All [0-9,]+"), within="#verdict"
    )


def find_by_host(o: Steps) -> None:
    """Find the Worker that runs on a host."""
    o.menu("Workers")
    o.fill("Search Workers", "host:press-03")
    expect(o.page.locator("#fleet tbody tr")).to_have_count(1)
    o.sees("press-03", within="#fleet tbody")


def see_who_uses_the_old_key(o: Steps) -> None:
    """See which Workers still use the old generation of a rotated API key."""
    o.follow(re.compile("Workers? lags?$"), within="section.credentials")
    o.is_at("press-keys")
    o.sees("and will be cut off then")


def cut_off_all_of_a_leaked_secret(o: Steps) -> None:
    """Cut off all 700 Workers of a leaked enrollment key."""
    o.menu("Auto-Enrollment")
    o.follow("This secret leaked…", within="section[aria-labelledby=former]")
    o.push("Cut off…")
    o.push(f"Cut off {LEAKED} Workers")
    o.sees(f"{LEAKED} of {LEAKED} Workers are out")


def who_did_what_yesterday(o: Steps) -> None:
    """See who did what yesterday."""
    o.menu("Audit")
    o.choose("When", "yesterday")
    expect(o.page).to_have_url(re.compile("when=yesterday"))


def why_was_it_refused(o: Steps) -> None:
    """See why a Worker was refused, and fix it."""
    o.follow(re.compile("^What to do ?: press-07"), within="section.needs")
    o.follow(re.compile("^Issue a key for press-07…"))
    o.push("Issue")
    o.sees("lyftdata_", within=SHOWN_ONCE)


def look_up_a_reference(o: Steps) -> None:
    """Look up the reference of a refusal that somebody reads out on the phone."""
    o.jump_to(o.references["malformed_api_key"])
    o.sees("What to do.")


def add_a_worker(o: Steps) -> None:
    """Add a Worker with its own API key."""
    o.follow("New Worker")
    o.fill("Name", f"press-20-{o.browser}")
    o.push("Add Worker")
    o.is_at(f"press-20-{o.browser} may connect")
    o.sees("lyftdata_", within=SHOWN_ONCE)


def enroll_a_host(o: Steps) -> None:
    """Let one host enroll itself."""
    o.menu("Auto-Enrollment")
    o.follow("Issue a key")
    o.fill("Name", f"press-21-{o.browser}")
    o.push("Issue")
    o.sees("lyftdata_enroll_", within=SHOWN_ONCE)


def enroll_twenty_hosts(o: Steps) -> None:
    """Let twenty hosts enroll themselves."""
    o.menu("Auto-Enrollment")
    o.follow("Issue a key")
    o.fill("Name", f"twenty-{o.browser}")
    o.fill("Number of Workers", "20")
    o.push("Issue")
    o.sees("lyftdata_enroll_", within=SHOWN_ONCE)


def approve_newcomers(o: Steps) -> None:
    """Approve a waiting Worker."""
    o.follow("Decide")
    o.click(o.page.get_by_label("partner-1", exact=True))
    o.push("Approve…")
    o.is_at(re.compile("^Approve "))
    o.push(re.compile("^Approve"))
    o.sees(re.compile("approved"))


def revoke_a_leaked_key(o: Steps) -> None:
    """Revoke a leaked API key, and see who used it."""
    o.menu("API keys")
    o.follow(re.compile("^binder-04-key"))
    o.follow("This key leaked…")
    o.push("Cut off…")
    o.push(re.compile("^Revoke the key"))
    o.sees("revoked")


def rotate_a_key(o: Steps) -> None:
    """Rotate an API key that expires soon."""
    o.follow("Rotate contractor-key", within="section.credentials")
    o.push("Rotate")
    o.sees("lyftdata_", within=SHOWN_ONCE)


def see_what_a_taken_over_host_had(o: Steps) -> None:
    """See what a taken-over host had: its Workers, their keys and tokens."""
    o.jump_to("press-01.example")
    o.follow("This host was taken over…")
    o.is_at("Incident: press-01.example")
    o.sees("What a cut-off does not do")


def what_happened_to_a_worker(o: Steps) -> None:
    """See what happened to a Worker: sessions, tokens, decisions."""
    o.jump_to("press-02")
    o.sees("Sessions")
    o.sees("Timeline")


def disable_a_worker(o: Steps) -> None:
    """Disable a Worker with a note, until a time."""
    o.jump_to("press-05" if o.browser == "chromium" else "press-06")
    o.follow("Disable…")
    o.fill("Note", "its disk is replaced")
    o.fill("Until", "2h")
    o.push("Disable")
    o.sees("its disk is replaced")


def disable_many_and_undo(o: Steps) -> None:
    """Disable 60 Workers at once, and undo it."""
    o.menu("Workers")
    o.fill("Search Workers", "loader")
    o.click(o.page.get_by_role("checkbox", name=re.compile("^Act on all 60 that match")))
    o.push("Disable…")
    o.push("Disable")
    o.push("Undo")
    o.sees("Undone: 60 Workers are as before.")


def label_many(o: Steps) -> None:
    """Put a label on 60 Workers at once."""
    o.menu("Workers")
    o.fill("Search Workers", "mixer")
    o.click(o.page.get_by_role("checkbox", name=re.compile("^Act on all 60 that match")))
    o.sees("With all 60 that match", within="fieldset.bulk")
    o.fill("Labels to add", "floor=2")
    o.push("Add labels")
    o.is_at(re.compile("^Add labels to 60 Workers"))
    o.push("Add labels")
    o.sees("60 Workers were labelled.")


def export_the_audit(o: Steps) -> None:
    """Export the audit log of a day."""
    o.menu("Audit")
    o.choose("When", "today")
    o.sees("what is filtered", within="#exports")
    with o.page.expect_download() as found:
        o.follow("CSV")
    assert found.value.suggested_filename.endswith(".csv")


def sign_in_and_land(o: Steps) -> None:
    """Sign in, and open the page that a colleague linked to."""
    sent = "/workers?q=press+zone%3Deu-1&sort="
    browser = o.window.context.browser
    assert browser is not None
    signed_out = Window(browser.new_context(), o.window.url)
    o.page = signed_out.go(sent)
    o.fill("Name", VIEWER)
    o.fill("Password", PASSWORD)
    o.push("Sign in")
    expect(o.page).to_have_url(signed_out.url + sent)
    o.is_at("Workers")
    signed_out.context.close()


def add_an_operator(o: Steps) -> None:
    """Add an operator who sees everything and changes nothing."""
    o.menu("Operators")
    o.fill("Name", f"walt-{o.browser}")
    o.push("Add")
    o.sees(f"walt-{o.browser}")


JOBS: Mapping[Callable[[Steps], None], int] = {
    see_whether_all_are_connected: 0,
    see_who_uses_the_old_key: 1,
    find_by_host: 2,
    look_up_a_reference: 2,
    what_happened_to_a_worker: 2,
    who_did_what_yesterday: 2,
    rotate_a_key: 2,
    see_what_a_taken_over_host_had: 3,
    add_a_worker: 3,
    add_an_operator: 3,
    export_the_audit: 3,
    sign_in_and_land: 3,
    why_was_it_refused: 3,
    cut_off_all_of_a_leaked_secret: 4,
    enroll_a_host: 4,
    approve_newcomers: 4,
    enroll_twenty_hosts: 5,
    revoke_a_leaked_key: 5,
    disable_a_worker: 6,
    disable_many_and_undo: 6,
    label_many: 6,
}
"""Each job, with the maximum number of steps."""
