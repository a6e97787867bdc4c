"""Operators' jobs take no more steps than expected, on a Server with 800 Workers more than fit on a page, and in Firefox too."""

import re
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from playwright.sync_api import Browser, expect
from tests.behaviour.browser.conftest import Window
from tests.behaviour.browser.jobs import (
    JOBS,
    LEAKED,
    Steps,
    add_a_worker,
    disable_a_worker,
    find_by_host,
    look_up_a_reference,
    sign_in_and_land,
)
from tests.behaviour.browser.request_jobs import REQUEST_JOBS
from tests.behaviour.browser.world import World
from tests.builders import worker
from tests.processes import PASSWORD

from lyftdata.core.identity_keys import generate_identity_key
from lyftdata.core.records import Strategy, WorkerRecord

GUIDE = Path(__file__).parents[3] / "docs" / "how-to" / "operators-guide.md"
# A second browser costs CPU time; these jobs use the same parts of it as the others.
IN_FIREFOX = (sign_in_and_land, find_by_host, look_up_a_reference, disable_a_worker, add_a_worker)


def crowd() -> list[WorkerRecord]:
    """Return the Workers of the leaked secret, in addition to the world's two, and more Workers than fit on a page of a list."""
    enrolled = [
        worker(
            f"robot-{n:03}",
            strategy=Strategy.AUTO_ENROLLMENT,
            public_jwk=(key := generate_identity_key().public).canonical_jwk,
            thumbprint=key.thumbprint,
        )
        for n in range(1, LEAKED - 1)
    ]
    return enrolled + [worker(f"{kind}-{n:02}") for kind in ("loader", "mixer") for n in range(1, 61)]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Return a Server with a history, a fleet, and the Workers of a leaked secret."""
    made = World(tmp_path_factory.mktemp("world"), crowd=crowd())
    yield made
    made.close()


def open_admin(browser: Browser, world: World) -> Iterator[Window]:
    """Yield an admin's window."""
    made = Window(browser.new_context(viewport={"width": 1280, "height": 900}), world.url)
    made.sign_in()
    yield made
    made.context.close()
    assert made.complaints == []


@pytest.fixture(scope="module")
def in_chromium(chromium, world):
    """Return an admin's window in Chromium."""
    yield from open_admin(chromium, world)


@pytest.fixture(scope="module")
def in_firefox(firefox, world):
    """Return an admin's window in Firefox."""
    yield from open_admin(firefox, world)


@pytest.mark.parametrize("job", JOBS, ids=lambda job: job.__name__)
def test_a_job_takes_no_more_steps_than_allowed(in_chromium, world, job):
    """Counted from the overview until the operator sees the result."""
    operator = Steps(in_chromium, world.references, "chromium")

    job(operator)

    assert operator.count <= JOBS[job]


@pytest.mark.parametrize("job", IN_FIREFOX, ids=lambda job: job.__name__)
def test_a_main_job_works_in_firefox(in_firefox, world, job):
    """In as many steps as in Chromium."""
    operator = Steps(in_firefox, world.references, "firefox")

    job(operator)

    assert operator.count <= JOBS[job]


def test_a_live_page_follows_the_server_in_firefox(in_firefox, world):
    """A Worker that is disabled elsewhere is shown as disabled, and the focused link keeps the focus."""
    page = in_firefox.go("/workers?q=binder-04")
    link = page.locator("#fleet tbody a").first
    link.focus()
    expect(page.locator("#fleet tbody")).not_to_contain_text("disabled")

    with httpx2.Client(base_url=world.url, trust_env=False, timeout=180) as http:
        given = {"username": "admin", "password": PASSWORD}
        token = http.post("/api/login", json=given).raise_for_status().json()["token"]
        bearer = {"Authorization": f"Bearer {token}"}
        http.patch("/api/workers/binder-04", json={"enabled": False}, headers=bearer).raise_for_status()

    expect(page.locator("#fleet tbody")).to_contain_text("disabled")
    expect(link).to_be_focused()


def test_a_form_reports_an_error_in_firefox(in_firefox):
    """The message is an alert, and the text is still in the field."""
    page = in_firefox.go("/add-worker")
    page.get_by_label("Name", exact=True).fill("press-77")
    page.get_by_label("Labels").fill("=nothing")
    page.get_by_role("button", name="Add Worker").click()

    expect(page.get_by_role("alert").filter(has_text="Labels: keys must be")).to_be_visible()
    expect(page.get_by_label("Labels")).to_have_value("=nothing")


def test_the_guide_lists_every_job_with_its_steps():
    """The table in the operators' guide matches the tests' table."""
    rows = re.findall(r"^\| ([^|]+) \| ([0-9]+) \| [^|]+ \|$", GUIDE.read_text(), re.MULTILINE)

    jobs = [*JOBS.items(), *REQUEST_JOBS.items()]
    said = {(job.__doc__ or "").strip().rstrip("."): most for job, most in jobs}
    assert (len(JOBS), len(said)) == (21, len(jobs))
    assert {job: int(steps) for job, steps in rows} == said
