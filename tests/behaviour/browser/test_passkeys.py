"""Passkeys in a real browser, with its virtual authenticator (WebAuthn Level 3, section 11)."""

import pytest
from playwright.sync_api import expect
from tests.behaviour.browser.test_every_page import RULES, barriers
from tests.behaviour.browser.world import ADMIN
from tests.processes import PASSWORD, STARTED, Site, free_port

OWN = "xxx " + PASSWORD


class VirtualAuthenticator:
    """A window's virtual authenticator: a device with a fingerprint reader."""

    def __init__(self, window):
        self._devtools = window.context.new_cdp_session(window.page)
        self._devtools.send("WebAuthn.enable")
        options = {
            "protocol": "ctap2",
            "transport": "internal",
            "hasResidentKey": True,
            "hasUserVerification": True,
            "isUserVerified": True,
            "automaticPresenceSimulation": True,
        }
        self._id = self._devtools.send("WebAuthn.addVirtualAuthenticator", {"options": options})[
            "authenticatorId"
        ]

    def verify_user(self, is_verified):
        """Make user verification succeed or fail."""
        values = {"authenticatorId": self._id, "isUserVerified": is_verified}
        self._devtools.send("WebAuthn.setUserVerified", values)

    def credentials(self):
        """Return its credentials."""
        return self._devtools.send("WebAuthn.getCredentials", {"authenticatorId": self._id})["credentials"]


@pytest.fixture
def local_site(tmp_path):
    """Return a Server whose public URL has a host name, which passkeys require."""
    port = free_port()
    made = Site(
        tmp_path, LYFTDATA_BIND_ADDRESS=f"127.0.0.1:{port}", LYFTDATA_PUBLIC_URL=f"http://localhost:{port}"
    )
    made.url = f"http://localhost:{port}"
    yield made
    while STARTED:
        program = STARTED.pop()
        if program.alive():
            program.kill()


def first_sign_in(window):
    """Sign in with the first password and change it."""
    page = window.sign_in()
    page.get_by_label("Current password").fill(PASSWORD)
    page.get_by_label("New password", exact=True).fill(OWN)
    page.get_by_label("New password again").fill(OWN)
    page.get_by_role("button", name="Change").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Overview")


def add(page, name):
    """Add a passkey on its page."""
    page.get_by_label("Name").fill(name)
    page.get_by_role("button", name="Add", exact=True).click()


def test_a_passkey_can_be_added_used_and_removed(local_site, open_window):
    """Under the pages' content security policy; without user verification the sign-in fails."""
    window = open_window(local_site.url)
    authenticator = VirtualAuthenticator(window)
    first_sign_in(window)

    page = window.go("/account")
    page.get_by_role("link", name="Add a passkey").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Add a passkey")
    assert barriers(page, RULES) == []
    add(page, "Built in")
    expect(page.get_by_role("heading", level=1)).to_have_text("Your recovery codes")
    assert len(authenticator.credentials()) == 1

    page = window.go("/account/passkeys/add")
    add(page, "The same device")
    expect(page.get_by_role("alert").filter(has_text="has a passkey for you already")).to_be_visible()

    page = window.go("/account")
    page.get_by_role("button", name="Sign out", exact=True).click()
    expect(page).to_have_url(local_site.url + "/login")
    page = window.sign_in(ADMIN, OWN)
    expect(page.get_by_role("heading", level=1)).to_have_text("Use your passkey")
    expect(page.get_by_text("A passkey needs scripts")).to_be_hidden()
    assert barriers(page, RULES) == []
    authenticator.verify_user(False)
    page.get_by_role("button", name="Use a passkey").click()
    expect(page.get_by_role("alert").filter(has_text="No passkey was used")).to_be_visible()
    authenticator.verify_user(True)
    page.get_by_role("button", name="Use a passkey").press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("Overview")
    assert authenticator.credentials()[0]["signCount"] > 1

    page = window.go("/account/confirm?next=%2Foperators")
    assert barriers(page, RULES) == []
    page.get_by_label("Password").fill(OWN)
    page.get_by_label("Password").press("Enter")
    expect(page).to_have_url(local_site.url + "/operators")

    page = window.go("/account")
    assert barriers(page, RULES) == []
    page.get_by_role("link", name="Remove… the passkey Built in").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("Remove your passkey")
    assert barriers(page, RULES) == []
    page.get_by_role("button", name="Remove").click()
    expect(page.get_by_role("status").first).to_contain_text("The passkey was removed.")


def test_without_scripts_a_recovery_code_replaces_the_passkey(local_site, open_window):
    """The page says that a passkey needs scripts, and does not show its button."""
    window = open_window(local_site.url)
    VirtualAuthenticator(window)
    first_sign_in(window)
    page = window.go("/account/passkeys/add")
    add(page, "Built in")
    code = page.get_by_label("Recovery codes").inner_text().split()[0]

    plain = open_window(local_site.url, java_script_enabled=False)
    page = plain.sign_in(ADMIN, OWN)
    expect(page.get_by_text("A passkey needs scripts")).to_be_visible()
    expect(page.get_by_role("button", name="Use a passkey")).to_be_hidden()
    page.get_by_label("Recovery code").fill(code)
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Overview")
