"""
The system's own Chromium with a real Server, and its Firefox for the main jobs.

No async test may run in between: Playwright's event loop lives as long as a module.
"""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Playwright, expect, sync_playwright
from tests.behaviour.browser.world import ADMIN, World, find_firefox, find_headless_chromium
from tests.processes import PASSWORD, STARTED, Site

# Without these, Chromium contacts its vendor's services; as root (as in CI) its sandbox cannot start.
ARGUMENTS = [
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    # A key scrolls the page at once: on a busy machine a test cannot see whether it is still scrolling.
    "--disable-smooth-scrolling",
    "--no-first-run",
    *(["--no-sandbox"] if os.geteuid() == 0 else []),
]
WITHIN_MS = 120_000


@pytest.fixture(scope="module")
def playwright() -> Iterator[Playwright]:
    """Return the Playwright instance for all browsers, since a thread has one event loop."""
    with sync_playwright() as started:
        yield started


@pytest.fixture(scope="module")
def chromium(playwright: Playwright) -> Iterator[Browser]:
    """Return the system's Chromium."""
    path = find_headless_chromium()
    if path is None:
        pytest.skip("no Chromium on this machine (Debian: apt-get install chromium)")
    browser = playwright.chromium.launch(executable_path=path, args=ARGUMENTS, timeout=WITHIN_MS)
    expect.set_options(timeout=WITHIN_MS)
    yield browser
    browser.close()


@pytest.fixture(scope="module")
def firefox(playwright: Playwright, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """
    Return the system's Firefox, driven by WebDriver BiDi.

    Playwright's own protocol works only with the Firefox that Playwright builds.
    """
    path = find_firefox()
    if path is None:
        pytest.skip("no Firefox on this machine (Debian: apt-get install firefox-esr)")
    started = tmp_path_factory.mktemp("firefox") / "firefox"
    started.write_text(
        f'#!/bin/sh\nexec "{sys.executable}" "{Path(__file__).with_name("bidi_relay.py")}" "{path}" "$@"\n'
    )
    started.chmod(0o700)
    browser = playwright.firefox.launch(channel="moz-firefox", executable_path=started, timeout=WITHIN_MS)
    expect.set_options(timeout=WITHIN_MS)
    yield browser
    browser.close()


class Window:
    """
    A browser window of one operator, which records everything that goes wrong in it.

    `complaints` has errors of scripts and of the content security policy; a page that works causes none.
    """

    def __init__(self, context: BrowserContext, url: str) -> None:
        context.set_default_timeout(WITHIN_MS)
        self.context = context
        self.url = url
        self.complaints: list[str] = []
        self.page = self.open_tab()

    def open_tab(self) -> Page:
        """Open another tab."""
        page = self.context.new_page()
        page.on("pageerror", lambda error: self.complaints.append(f"{page.url}: {error}"))
        page.on(
            "console",
            lambda message: (
                self.complaints.append(f"{page.url}: {message.text}")
                if message.type == "error" and "status of" not in message.text
                else None
            ),
        )
        page.on("dialog", lambda dialog: self.complaints.append(f"{page.url}: a dialog: {dialog.message}"))
        return page

    def go(self, path: str) -> Page:
        """Open one of the Server's pages."""
        self.page.goto(self.url + path)
        return self.page

    def sign_in(self, name: str = ADMIN, password: str = PASSWORD) -> Page:
        """
        Sign in with the form; return the page that it leads to, which is the form again after a refusal.

        A click returns before its answer is there: a page opened at once would be opened without the session.
        """
        self.go("/login")
        self.page.get_by_label("Name").fill(name)
        self.page.get_by_label("Password").fill(password)
        with self.page.expect_navigation(timeout=WITHIN_MS):
            self.page.get_by_role("button", name="Sign in").click()
        return self.page


@pytest.fixture
def open_window(chromium: Browser) -> Iterator[object]:
    """Return a function that opens a new window; at the end no window may have complaints."""
    opened: list[Window] = []

    def open_(url: str, **how: object) -> Window:
        opened.append(Window(chromium.new_context(**how), url))  # type: ignore[arg-type]
        return opened[-1]

    yield open_
    for window in opened:
        window.context.close()
    assert [complaint for window in opened for complaint in window.complaints] == []


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Return a Server with a history and a fleet; tests share it and only read."""
    made = World(tmp_path_factory.mktemp("world"))
    yield made
    made.close()


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """Return a new Server, which a test may change."""
    from tests.builders import ENROLLMENT_KEY

    made = Site(tmp_path, LYFTDATA_AUTO_ENROLLMENT_KEY=ENROLLMENT_KEY)
    yield made
    while STARTED:
        program = STARTED.pop()
        if program.alive():
            program.kill()
