"""Refusals in a browser: solved ones disappear, and the Worker of a refusal can be opened."""

import httpx2
import pytest
from playwright.sync_api import expect
from tests.behaviour.browser.conftest import Window
from tests.behaviour.browser.history import reload
from tests.builders import ENROLLMENT_KEY
from tests.processes import Host


@pytest.fixture(scope="module")
def admin(chromium, world):
    """Return an admin's window."""
    window = Window(chromium.new_context(), world.url)
    window.sign_in()
    expect(window.page.get_by_role("heading", level=1)).to_have_text("Overview")
    yield window
    assert window.complaints == []
    window.context.close()


def test_the_alert_about_refusals_ends_when_the_worker_gets_in(admin, world):
    """A Worker that was refused four times is on the overview; after it has used the right key it is not."""
    page = admin.go("/")
    alert = page.get_by_text("press-07 at 203.0.113.20 was refused 4 times", exact=True)
    expect(alert).to_be_visible()

    form = {
        "grant_type": "client_credentials",
        "client_id": "press-07",
        "client_secret": world.keys["press-07"],
    }
    httpx2.post(f"{world.url}/oauth2/token", data=form, trust_env=False, timeout=180).raise_for_status()
    reload(page, heading="Overview")

    expect(page.get_by_role("heading", name="Needs you")).to_be_visible()
    expect(alert).to_have_count(0)


def test_a_refusal_for_a_name_in_use_links_to_its_holder(admin, world, tmp_path):
    """One click leads from the refusal to the Worker that has the name."""
    given = {"LYFTDATA_WORKER_NAME": "binder 1", "LYFTDATA_AUTO_ENROLLMENT_KEY": ENROLLMENT_KEY}
    host = Host(tmp_path, LYFTDATA_URL=world.url, **given)
    agent = host.start("run", "worker")
    try:
        reference = agent.wait_for("refused")["reference"]
    finally:
        agent.terminate()

    page = admin.go(f"/refusals/{reference}")
    expect(page.get_by_role("heading", level=1)).to_have_text("Name in use")
    page.get_by_role("link", name="Open Worker binder-01").click()

    expect(page.get_by_role("heading", level=1)).to_have_text("binder 1")
