"""Operators' work in a browser, with real Workers at the other end."""

import os
import re
import signal
import subprocess
import zipfile
from concurrent.futures import ThreadPoolExecutor

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect
from tests.behaviour.browser.history import go_back, reload
from tests.behaviour.browser.test_every_page import RULES
from tests.builders import ENROLLMENT_KEY
from tests.processes import PASSWORD

NEW_PASSWORD = "a horse of another stable"
HOSTILE = "<img src=x onerror=alert(1)>'\"{{7*7}}"


@pytest.fixture
def admin(site, open_window):
    """Return the window of an admin who has replaced the first password."""
    window = open_window(site.url)
    page = window.sign_in()
    page.get_by_label("Current password").fill(PASSWORD)
    page.get_by_label("New password", exact=True).fill(NEW_PASSWORD)
    page.get_by_label("New password again").fill(NEW_PASSWORD)
    page.get_by_role("button", name="Change password").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Overview")
    return window


@pytest.fixture
def operator(site, admin):
    """Return the same admin's command line."""
    site.operator.done("login", "admin", "--password-stdin", stdin=NEW_PASSWORD)
    return site.operator


def add_worker(window, name, **fields):
    """Fill in and send *New Worker*; return the next page."""
    page = window.go("/add-worker")
    page.get_by_label("Name", exact=True).fill(name)
    page.get_by_label("Worker ID").fill(fields.get("worker_id", name))
    if "labels" in fields:
        page.get_by_label("Labels").fill(fields["labels"])
    if "key_name" in fields:
        page.get_by_label("An existing key").check()
        page.get_by_label("Name of the key").fill(fields["key_name"])
    page.get_by_role("button", name="Add Worker").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("may connect")
    return page


def shown_key(page):
    """Return the key that is shown once."""
    return page.locator(".copyable code").first.inner_text()


def row(page, name):
    """Return a list's row with this name as its heading."""
    return page.get_by_role("row").filter(has=page.get_by_role("rowheader", name=name))


def test_the_first_password_must_be_changed_at_the_first_sign_in(site, open_window):
    """A wrong password is refused, the first one opens only the page to change it, and then the requested page opens."""
    window = open_window(site.url)
    page = window.sign_in(password="wrong wrong wrong")
    expect(page.get_by_role("alert")).to_contain_text("Name or password is wrong")

    page = window.sign_in()
    expect(page.get_by_role("heading", level=1)).to_have_text("Choose a password of your own")
    window.go("/workers")
    expect(page).to_have_url(f"{site.url}/account/password?next=%2Fworkers")
    page.get_by_label("Current password").fill(PASSWORD)
    page.get_by_label("New password", exact=True).fill(NEW_PASSWORD)
    page.get_by_label("New password again").fill(NEW_PASSWORD)
    page.get_by_role("button", name="Change password").click()

    expect(page.get_by_role("heading", level=1)).to_have_text("Workers")
    expect(page.get_by_role("status").first).to_contain_text("Your password was changed")
    page.get_by_role("button", name="Sign out").click()
    expect(page).to_have_url(f"{site.url}/login")
    go_back(page, leaving="Sign in")
    expect(page.get_by_role("button", name="Sign in")).to_be_visible()


def test_the_page_of_a_new_worker_follows_it_until_it_is_online(site, admin):
    """It waits, says why a first attempt was refused, and shows success when its settings are used on a host."""
    expect(admin.page.get_by_text("Only this host reaches it.")).to_be_visible()
    page = add_worker(admin, "press-01", labels="zone=eu-1")
    expect(page.get_by_text("Waiting for press-01 to connect…")).to_be_visible()
    key = shown_key(page)
    script = page.get_by_role("tabpanel", name="Shell").locator("code").inner_text()
    assert key not in script

    wrong = site.worker_host(
        "wrong",
        LYFTDATA_WORKER_ID="press-01",
        LYFTDATA_WORKER_API_KEY=key[:-1] + ("x" if key[-1] != "x" else "y"),
    )
    assert wrong.run("run", "worker").returncode == 3
    expect(page.get_by_text("It was refused:")).to_be_visible()
    # A screen reader announces changes within a region that it knows, so the element must stay the same.
    said = page.get_by_role("status").filter(has_text="It was refused:").element_handle()

    host = site.worker_host("press-01")
    given = dict(re.findall(r"export (\w+)=['\"]?([^'\"\n]+)['\"]?", script))
    assert set(given) == {"LYFTDATA_URL", "LYFTDATA_WORKER_ID", "LYFTDATA_WORKER_API_KEY_FILE"}
    (host.home / "press-01.key").write_text(key)
    given["LYFTDATA_WORKER_API_KEY_FILE"] = given["LYFTDATA_WORKER_API_KEY_FILE"].replace(
        "$PWD", str(host.home)
    )
    agent = host.start("run", "worker", **given)

    expect(page.get_by_text("press-01 is online.")).to_be_visible()
    assert "press-01 is online." in said.inner_text()
    page.get_by_role("link", name="Open", exact=True).click()
    expect(page.locator("#live .status").first).to_have_text("online")
    expect(page.get_by_text("Hostname", exact=True)).to_be_visible()
    reload(page, heading=re.compile("press-01"))
    assert key[20:] not in page.content()
    agent.terminate()
    expect(page.locator("#live .status").first).to_have_text("offline")


def test_the_shell_script_of_a_new_worker_can_be_pasted(site, admin, tmp_path):
    """Pasted unchanged into a shell, with the key entered at its prompt, it brings the Worker online."""
    page = add_worker(admin, "press-01")
    key = shown_key(page)
    script = page.get_by_role("tabpanel", name="Shell").locator("code").inner_text()
    host = site.worker_host("press-01")
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "lyftdata"
    import sys

    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m lyftdata "$@"\n')
    program.chmod(0o755)
    environ = host.environ | {"PATH": f"{program.parent}:{host.environ['PATH']}"}
    del environ["LYFTDATA_URL"]
    pasted = subprocess.Popen(
        ["bash", "-c", script],
        env=environ,
        cwd=host.home,
        stdin=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        # The agent is a child of the shell; both must be stopped.
        start_new_session=True,
    )
    try:
        assert pasted.stdin is not None
        pasted.stdin.write(f"{key}\n")
        pasted.stdin.close()
        expect(page.get_by_text("press-01 is online.")).to_be_visible()
    finally:
        os.killpg(pasted.pid, signal.SIGTERM)
        pasted.wait()


def test_an_enrolling_worker_appears_in_the_open_list(site, admin):
    """Without a reload, and its page shows the key with which it enrolled."""
    page = admin.go("/workers")
    expect(page.get_by_text("There is no Worker yet.")).to_be_visible()

    site.worker_host(
        "scaler", LYFTDATA_WORKER_NAME="scaler", LYFTDATA_AUTO_ENROLLMENT_KEY=ENROLLMENT_KEY
    ).start("run", "worker")

    expect(row(page, "scaler")).to_contain_text("online")
    page.get_by_role("link", name="scaler", exact=True).click()
    fingerprint = page.locator("dd a.mono").inner_text()
    page = admin.go("/enrollment")
    expect(row(page, fingerprint)).to_contain_text("1 Worker")
    assert ENROLLMENT_KEY not in page.content()


def test_revoking_a_key_cuts_off_only_its_workers(site, admin, open_window):
    """The page says how many will be cut off; another tab shows them go offline, and the third Worker stay."""
    page = admin.go("/issue-api-key")
    page.get_by_label("Name").fill("press-keys")
    page.get_by_label("Every Worker of strategy API key").check()
    page.get_by_role("button", name="Issue").click()
    shared = shown_key(page)
    agents = {}
    for name in ("press-01", "press-02", "press-03"):
        own = shown_key(add_worker(admin, name)) if name == "press-03" else ""
        if not own:
            add_worker(admin, name, key_name="press-keys")
        host = site.worker_host(name, LYFTDATA_WORKER_ID=name, LYFTDATA_WORKER_API_KEY=own or shared)
        agents[name] = host.start("run", "worker")
        agents[name].wait_for("online")
    watching = admin.open_tab()
    watching.goto(f"{site.url}/workers")
    expect(row(watching, "press-01")).to_contain_text("online")

    page = admin.go("/api-keys/press-keys")
    page.get_by_role("link", name="Revoke…").click()
    expect(page.get_by_text("2 Workers connected with it now will be cut off")).to_be_visible()
    page.get_by_role("button", name="Revoke").click()

    expect(page.get_by_role("status").first).to_contain_text("The key is revoked")
    for name in ("press-01", "press-02"):
        assert agents[name].exit_code() == 3
        expect(row(watching, name)).to_contain_text("offline")
    expect(row(watching, "press-03")).to_contain_text("online")
    assert agents["press-03"].alive()


def test_a_refusal_can_be_found_by_its_reference_and_fixed(site, admin):
    """From the reference in the Worker's log to the button; then the same Worker is online without another change."""
    own = shown_key(add_worker(admin, "press-01"))
    add_worker(admin, "press-02")
    host = site.worker_host("press-02", LYFTDATA_WORKER_ID="press-02", LYFTDATA_WORKER_API_KEY=own)
    reference = host.start("run", "worker").wait_for("refused")["reference"]

    page = admin.go("/refusals")
    page.get_by_role("searchbox").fill(reference)
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("API key not for Worker")
    page.get_by_role("link", name=re.compile("Allow key .* for press-02")).click()
    page.get_by_role("button", name="Allow").click()
    expect(page.get_by_role("status").first).to_contain_text("Allowed.")

    host.start("run", "worker").wait_for("online")


def test_a_worker_can_be_disabled_from_the_list_and_enabled_again(site, admin):
    """After a confirmation; the agent waits, and is online again when the Worker is enabled."""
    key = shown_key(add_worker(admin, "press-01"))
    host = site.worker_host("press-01", LYFTDATA_WORKER_ID="press-01", LYFTDATA_WORKER_API_KEY=key)
    agent = host.start("run", "worker")
    agent.wait_for("online")

    page = admin.go("/workers")
    page.get_by_role("checkbox", name="press-01").check()
    page.get_by_role("button", name="Disable…").click()
    expect(page.get_by_text("1 Worker connected now will be cut off within a second")).to_be_visible()
    page.get_by_role("button", name="Disable").click()
    expect(row(page, "press-01")).to_contain_text("disabled")
    page.get_by_role("link", name="press-01", exact=True).click()
    page.get_by_role("link", name="Enable…").click()
    expect(page.get_by_text("An operator has disabled it")).to_be_visible()
    page.get_by_role("button", name="Enable").click()

    expect(page.locator("#live .status").first).to_have_text("online")
    assert agent.alive()


def test_a_viewer_sees_everything_and_can_change_nothing(site, admin, open_window):
    """There are no buttons, and typed URLs and the API are refused."""
    add_worker(admin, "press-01")
    page = admin.go("/operators")
    page.get_by_label("Name", exact=True).fill("vera")
    page.get_by_role("button", name="Add", exact=True).click()
    first = shown_key(page)
    window = open_window(site.url)
    page = window.sign_in("vera", first)
    page.get_by_label("Current password").fill(first)
    page.get_by_label("New password", exact=True).fill(PASSWORD)
    page.get_by_label("New password again").fill(PASSWORD)
    page.get_by_role("button", name="Change password").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Overview")

    page = window.go("/workers/press-01")
    expect(page.get_by_role("heading", level=1)).to_have_text("press-01")
    expect(page.get_by_role("link", name="Disable…")).to_have_count(0)
    page = window.go("/workers/press-01/disable")
    expect(page.get_by_text("The role viewer may not do this")).to_be_visible()
    answer = page.request.post(f"{site.url}/workers/press-01/delete", form={"csrf": "x"})
    assert answer.status == 403
    site.operator.done("login", "vera", "--password-stdin", stdin=f"{PASSWORD}\n")
    denied = site.operator.run("workers", "delete", "press-01", "--yes")
    assert (denied.returncode, "may not do this" in denied.stderr) == (1, True)


def test_text_from_outsiders_is_never_interpreted(site, admin, tmp_path):
    """Names, host facts, claimed IDs, User-Agents and sign-in names are shown verbatim."""
    import httpx2

    page = add_worker(admin, HOSTILE, worker_id="press-01")
    key = shown_key(page)
    with httpx2.Client(
        base_url=site.url, headers={"User-Agent": HOSTILE}, trust_env=False, timeout=180
    ) as unknown_caller:
        form = {"grant_type": "client_credentials", "client_id": "press-01", "client_secret": key}
        token = unknown_caller.post("/oauth2/token", data=form).json()["access_token"]
        facts = dict.fromkeys(("hostname", "os", "python", "agent_version", "pid"), HOSTILE)
        bearer = {"Authorization": f"Bearer {token}"}

        def poll(boot: str, **reported: object) -> httpx2.Response:
            return unknown_caller.post(
                "/api/worker/session", json={"boot_id": boot, "host": facts, **reported}, headers=bearer
            )

        poll("boot-0001")
        with ThreadPoolExecutor(1) as concurrently:
            concurrently.submit(poll, "boot-0001")
            assert poll("boot-0002").status_code == 409
            poll("boot-0001", sign_off=True)
        reference = unknown_caller.post("/oauth2/token", data=form | {"client_id": HOSTILE}).json()[
            "reference"
        ]
        login = {"username": HOSTILE, "password": "x"}
        unknown_caller.post("/login", data=login, headers={"Sec-Fetch-Site": "same-origin"})
        unknown_caller.post("/api/login", json={"username": "admin", "password": NEW_PASSWORD})

    for path in (
        "/",
        "/workers",
        "/workers/press-01",
        "/workers/press-01/disable",
        "/refusals",
        f"/refusals/{reference}",
        "/audit",
        "/operators",
        "/account",
        "/api-keys",
    ):
        page = admin.go(path)
        page.wait_for_load_state("load")
        assert page.locator("img[src=x]").count() == 0, path
    assert HOSTILE in admin.go("/workers/press-01").locator("dd", has_text="onerror").first.inner_text()
    assert HOSTILE in admin.go(f"/refusals/{reference}").locator("main").inner_text()


def test_signing_out_everywhere_ends_every_window(site, admin, open_window):
    """And the session of the command line."""
    other = open_window(site.url)
    other.sign_in(password=NEW_PASSWORD)
    site.operator.done("login", "admin", "--password-stdin", stdin=f"{NEW_PASSWORD}\n")
    page = admin.go("/account")
    expect(page.get_by_role("rowheader")).to_have_count(3)

    page.get_by_role("button", name="Sign out everywhere").click()

    expect(page).to_have_url(f"{site.url}/login")
    # In a new tab, since the open page may just be on its way to the form by itself.
    tab = other.open_tab()
    tab.goto(f"{site.url}/workers")
    expect(tab).to_have_url(re.compile(f"^{re.escape(site.url)}/login"))
    assert site.operator.run("workers", "list").returncode == 1


def test_the_audit_log_can_be_followed_live(site, admin):
    """Changes by another operator appear in the open page."""
    page = admin.go("/audit")
    expect(page.get_by_text("The chain is intact.")).to_be_visible()
    page.get_by_label("Follow live").check()
    page.get_by_role("button", name="Filter").click()
    site.operator.done("login", "admin", "--password-stdin", stdin=f"{NEW_PASSWORD}\n")
    site.operator.done("workers", "add", "press-07", "--id", "press-07")

    expect(page.get_by_role("link", name="worker:press-07")).to_be_visible()


def test_a_range_of_names_adds_many_workers(site, admin):
    """After a confirmation one download has a file that starts each Worker; the page counts them, and a reload leaves it."""
    page = admin.go("/add-worker")
    page.get_by_label("Name", exact=True).fill("press-[01-03]")
    page.get_by_label("Worker ID").fill("press-[01-03]")
    page.get_by_role("button", name="Add Worker").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Add 3 Workers?")
    assert Axe().run(page, options=RULES).violations_count == 0
    page.get_by_role("button", name="Add 3 Workers").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("3 Workers may connect")
    assert Axe().run(page, options=RULES).violations_count == 0

    with page.expect_download() as started:
        page.get_by_role("link", name="Download an environment file for each").click()
    assert started.value.suggested_filename == "press-01-to-press-03.zip"
    with zipfile.ZipFile(started.value.path()) as archive:
        text = archive.read("press-02.env").decode()
    agent = site.worker_host("press-02", **dict(line.split("=", 1) for line in text.splitlines())).start(
        "run", "worker"
    )
    expect(page.locator("#waiting")).to_contain_text("1 of 3 Workers is online.")

    reload(page, heading=re.compile("may connect$"))
    expect(page).to_have_url(f"{site.url}/workers")
    expect(page.get_by_role("status").first).to_contain_text("not shown again")
    agent.terminate()


def test_reloading_a_page_that_shows_a_secret_once_is_safe(site, admin, operator):
    """It leads to the page of the object created: nothing is sent twice, the browser asks nothing, and the secret is gone."""
    page = add_worker(admin, "press-01")
    key = shown_key(page)
    reload(page, heading=re.compile("may connect$"))
    expect(page).to_have_url(f"{site.url}/workers/press-01")
    expect(page.get_by_role("status").first).to_contain_text("not shown again")
    assert key not in page.content()

    page = admin.go("/issue-api-key")
    page.get_by_label("Name", exact=True).fill("press-keys")
    page.get_by_label("Every Worker").check()
    page.get_by_role("button", name="Issue").click()
    key = shown_key(page)
    reload(page, heading=re.compile("press-keys"))
    expect(page.get_by_role("heading", level=1)).to_have_text("press-keys")
    assert key not in page.content()
    expect(page.get_by_text("1", exact=True).first).to_be_visible()

    page = admin.go("/operators")
    page.get_by_label("Name", exact=True).fill("ada")
    page.get_by_role("button", name="Add", exact=True).click()
    password = shown_key(page)
    page.get_by_role("link", name="I have it").click()
    go_back(page, leaving="Operators")
    expect(page.get_by_role("heading", level=1)).to_have_text("Operators")
    assert password not in page.content()

    admin.go("/add-resource")
    page.get_by_label("Name", exact=True).fill("broker")
    page.get_by_label("Audience").fill("https://broker.example.com")
    page.get_by_role("button", name=re.compile("Add|Save|Define")).click()
    page.get_by_role("button", name="Issue a key").click()
    key = shown_key(page)
    reload(page, heading=re.compile("broker"))
    expect(page).to_have_url(f"{site.url}/resources/broker")
    assert key not in page.content()
    keys = operator.json("api-key", "list")
    assert sorted(k["generation"] for k in keys) == [1, 1]


def test_a_double_click_sends_a_form_once(admin, operator):
    """A double click on *Rotate* creates one key, which is shown."""
    operator.done("api-key", "issue", "press-keys")
    page = admin.go("/api-keys/press-keys/rotate")
    posts = []
    page.on("request", lambda request: posts.append(request.url) if request.method == "POST" else None)
    page.get_by_role("button", name="Rotate").dblclick()
    expect(page.get_by_text("Shown once.")).to_be_visible()

    assert len(posts) == 1


def test_a_right_to_left_name_does_not_affect_the_text_around_it(site, admin, operator):
    """
    A Hebrew name of a Worker is isolated wherever it is shown, and the text after it stays after it.

    A name with a direction override is refused.
    """
    name = "\u05d0\u05d1\u05d2 7"
    host = site.worker_host("h", LYFTDATA_WORKER_NAME=name, LYFTDATA_AUTO_ENROLLMENT_KEY=ENROLLMENT_KEY)
    host.start("run", "worker").wait_for("online")
    (worker,) = operator.json("workers", "list")
    loose = (
        "name => { const found = []; const walk = document.createTreeWalker(document.querySelector('main'), 4);"
        " while (walk.nextNode()) if (walk.currentNode.data.includes(name) && !walk.currentNode.parentElement.closest('bdi'))"
        " found.push(walk.currentNode.parentElement.outerHTML); return found; }"
    )
    for path in ("/", "/workers", f"/workers/{worker['id']}", f"/workers/{worker['id']}/disable", "/audit"):
        page = admin.go(path)
        assert page.locator("bdi", has_text=name).count() > 0, path
        assert page.evaluate(loose, name) == []

    page = admin.go(f"/workers/{worker['id']}/disable")
    # "Disable NAME?": the question mark is to the right of the name, not within it.
    ends = page.evaluate(
        "(() => { const h = document.querySelector('h1'); const r = document.createRange(); r.selectNodeContents(h.lastChild);"
        " return [h.querySelector('bdi').getBoundingClientRect().right, r.getBoundingClientRect().left]; })()"
    )
    assert ends[0] <= ends[1] + 1

    other = site.worker_host(
        "o", LYFTDATA_WORKER_NAME="a\u202eb", LYFTDATA_AUTO_ENROLLMENT_KEY=ENROLLMENT_KEY
    )
    assert other.run("run", "worker").returncode == 2
    assert len(operator.json("workers", "list")) == 1
