"""Requests and their confirmation take no more steps than expected, in Firefox too."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser
from tests.behaviour.browser.conftest import Window
from tests.behaviour.browser.request_jobs import (
    FIRST,
    REQUEST_JOBS,
    SECOND,
    Colleagues,
    Pair,
    ask_with_a_reason,
    confirm,
    turn_it_on,
)
from tests.processes import Site

# Only the main ones: a second browser costs CPU time.
IN_FIREFOX = (ask_with_a_reason, confirm)


@pytest.fixture(scope="module")
def colleagues(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Colleagues]:
    """Return two admins of a separate Server."""
    site = Site(tmp_path_factory.mktemp("site"))
    made = Colleagues(site.url)
    yield made
    made.close()
    site.server.terminate()


def open_both(browser: Browser, name: str, colleagues: Colleagues) -> Iterator[Pair]:
    """Yield both operators, with a window for each."""
    windows = {who: Window(browser.new_context(), colleagues.url) for who in (FIRST, SECOND)}
    for who, window in windows.items():
        window.sign_in(who)
    yield Pair(windows, colleagues, name)
    for window in windows.values():
        window.context.close()
    assert [complaint for window in windows.values() for complaint in window.complaints] == []


@pytest.fixture(scope="module")
def in_chromium(chromium, colleagues):
    """Return both operators in Chromium."""
    yield from open_both(chromium, "chromium", colleagues)


@pytest.fixture(scope="module")
def in_firefox(firefox, colleagues):
    """Return both operators in Firefox."""
    yield from open_both(firefox, "firefox", colleagues)


@pytest.mark.parametrize("job", REQUEST_JOBS, ids=lambda job: job.__name__)
def test_a_job_takes_no_more_steps_than_allowed(in_chromium, job):
    """Counted from the overview until the operator sees the result."""
    if job is not turn_it_on:
        in_chromium.colleagues.turn_on()

    assert job(in_chromium).count <= REQUEST_JOBS[job]


@pytest.mark.parametrize("job", IN_FIREFOX, ids=lambda job: job.__name__)
def test_a_main_job_works_in_firefox(in_firefox, job):
    """In as many steps as in Chromium."""
    in_firefox.colleagues.turn_on()

    assert job(in_firefox).count <= REQUEST_JOBS[job]
