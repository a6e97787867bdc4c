"""What operators do in a browser, with real Workers at the other end."""

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
    """Return the window of an admin who has changed the first password."""
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
    """Return the command line of the same admin."""
    site.operator.done("login", "admin", "--password-stdin", stdin=NEW_PASSWORD)
    return site.operator


def add_worker(window, name, **fields):
    """Fill in *New Worker*; return the page after it."""
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
    """Return the row of a list that begins with a name."""
    return page.get_by_role("row").filter(has=page.get_by_role("rowheader", name=name))


def test_first_sign_in(site, open_window):
    """A wrong password is refused, the first one opens one page only, and the new one opens the page that was asked for."""
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


def test_new_worker_until_it_is_online(site, admin):
    """The page waits, says why a first try was refused, and turns green when what it shows was pasted on a host."""
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
    # A screen reader announces what changes within a region that it knows: it must stay the same element.
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


def test_what_the_page_shows_can_be_pasted(site, admin, tmp_path):
    """The shell text, as it is, in a shell, and the key where it is asked for: online."""
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
        # The agent is a child of the shell: both are ended.
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


def test_a_worker_that_enrolls_itself_appears(site, admin):
    """The list shows it while one looks, and its page says with which secret it came."""
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


def test_revoking_a_key_cuts_its_workers_off_and_no_other(site, admin, open_window):
    """The page says who will be cut off; another window sees them leave, and the third stay."""
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


def test_a_refusal_is_found_by_its_reference_and_remedied(site, admin):
    """From the line in the Worker's log to the button, to the same Worker online with nothing else changed."""
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


def test_disabled_and_enabled_from_the_list(site, admin):
    """Ticked, asked, disabled; the Worker waits and is back when enabled, untouched."""
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


def test_a_viewer_sees_all_and_changes_nothing(site, admin, open_window):
    """No button; the address typed by hand is refused; and the same in the API."""
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


def test_what_outsiders_write_is_text(site, admin, tmp_path):
    """A name, labels, host facts, a claimed ID, a User-Agent, a sign-in name: shown as written, never run."""
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
        with ThreadPoolExecutor(1) as beside:
            beside.submit(poll, "boot-0001")
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
    """Also that of the command line."""
    other = open_window(site.url)
    other.sign_in(password=NEW_PASSWORD)
    site.operator.done("login", "admin", "--password-stdin", stdin=f"{NEW_PASSWORD}\n")
    page = admin.go("/account")
    expect(page.get_by_role("rowheader")).to_have_count(3)

    page.get_by_role("button", name="Sign out everywhere").click()

    expect(page).to_have_url(f"{site.url}/login")
    # In a tab of its own: the page that is open there may be on its way to the form by itself.
    tab = other.open_tab()
    tab.goto(f"{site.url}/workers")
    expect(tab).to_have_url(re.compile(f"^{re.escape(site.url)}/login"))
    assert site.operator.run("workers", "list").returncode == 1


def test_the_log_is_followed_live(site, admin):
    """What another operator does appears in the page that follows."""
    page = admin.go("/audit")
    expect(page.get_by_text("The chain is intact.")).to_be_visible()
    page.get_by_label("Follow live").check()
    page.get_by_role("button", name="Filter").click()
    site.operator.done("login", "admin", "--password-stdin", stdin=f"{NEW_PASSWORD}\n")
    site.operator.done("workers", "add", "press-07", "--id", "press-07")

    expect(page.get_by_role("link", name="worker:press-07")).to_be_visible()


def test_many_workers_by_one_range(site, admin):
    """Asked first, then one download whose files start the Workers; the panel counts them, and the page is gone when it is loaded again."""
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


def test_a_page_that_shows_a_secret_once_can_be_loaded_again(site, admin, operator):
    """It is the page of what was made then: nothing is sent twice, nothing asked, the key is gone, and Back leads there."""
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


def test_a_second_click_sends_nothing(admin, operator):
    """Of two clicks on *Rotate* one makes a key, and it is the one that is shown."""
    operator.done("api-key", "issue", "press-keys")
    page = admin.go("/api-keys/press-keys/rotate")
    posts = []
    page.on("request", lambda request: posts.append(request.url) if request.method == "POST" else None)
    page.get_by_role("button", name="Rotate").dblclick()
    expect(page.get_by_text("Shown once.")).to_be_visible()

    assert len(posts) == 1


def test_a_name_of_another_direction_orders_nothing_but_itself(site, admin, operator):
    """
    A Worker names itself in Hebrew: wherever that stands it is isolated, and what is behind it stays behind it.

    Overrides of direction never get in: the name is refused, and what was claimed is shown without them.
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
    # "Disable NAME?": the question mark is drawn right of the name, not within it.
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
