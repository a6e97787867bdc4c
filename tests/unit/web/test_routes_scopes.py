"""Which pages are open to operators with a scope, and what these show and change."""

import re
from urllib.parse import quote

import pytest
from tests.deployment import PASSWORD
from tests.unit.web.conftest import signed_in, the
from tests.unit.web.test_gate import fill, name_of

from lyftdata.core.identity_keys import generate_identity_key
from lyftdata.core.policy import ACTIONS
from lyftdata.core.records import Role
from lyftdata.core.scopes import UNLIMITED
from lyftdata.web.routes import PAGES

ETL = {"team": "etl"}
OWN_PASSWORD = "zzz " + PASSWORD
# Pages that say that they stay within the scope, besides those of one's own account; any other is refused. A new page is entered here,
# once that is true.
OPEN = {
    "/",
    "/workers",
    "/change-workers",
    "/undo-change",
    "/add-worker",
    "/added-workers/{number}/waiting",
    "/workers/{worker_id}",
    "/workers/{worker_id}/waiting",
    "/workers/{worker_id}/disable",
    "/workers/{worker_id}/enable",
    "/workers/{worker_id}/delete",
    "/workers/{worker_id}/rotate-key",
    "/workers/{worker_id}/copies/{reference}/continue",
    "/workers/{worker_id}/copies/{reference}/reenroll",
    "/api-keys",
    "/issue-api-key",
    "/api-keys/{name}",
    "/api-keys/{name}/rotate",
    "/api-keys/{name}/end-previous",
    "/api-keys/{name}/revoke",
    "/api-keys/{name}/allow",
    "/resources",
    "/resources/{name}",
    "/jump",
    "/enrollment",
    "/issue-enrollment-key",
    "/enrollment/{name}",
    "/enrollment/{name}/waiting",
    "/enrollment/{name}/rotate",
    "/enrollment/{name}/end-previous",
    "/enrollment/{name}/revoke",
    "/approvals",
    "/decide-approvals",
    "/requests",
    "/requests/{request_id}",
    "/requests/{request_id}/reason",
    "/requests/{request_id}/withdraw",
    "/requests/{request_id}/decline",
    "/requests/{request_id}/confirm",
    "/api-tokens",
    "/issue-api-token",
    "/api-tokens/{name}",
    "/api-tokens/{name}/revoke",
}
OWN = {"own_account", "own_second_factor"}
CHANGES_OF_RESOURCES = {"/resources/{name}"}


async def post(server, headers, path, body):
    """Post by the API what is to be made."""
    answer = await server.http.post(f"/api{path}", json=body, headers=headers)
    assert answer.status_code == 201, answer.text
    return answer.json()


@pytest.fixture
async def root(server, browser):
    """Return the headers of an admin, in a deployment with Workers of two teams."""
    headers = await server.sign_in(password="xxx " + PASSWORD)
    for worker_id, team in (("etl-1", "etl"), ("etl-2", "etl"), ("ops-1", "ops")):
        body = {"name": f"n-{worker_id}", "id": worker_id, "labels": {"team": team}}
        await post(server, headers, "/workers", body)
    for name, ids in (("etl-only", ["etl-1"]), ("shared", ["etl-1", "ops-1"]), ("for-all", None)):
        await post(server, headers, "/api-keys", {"name": name, "worker_ids": ids})
    lake = {"name": "etl-lake", "audience": "https://etl.example", "labels": ["team=etl"]}
    await post(server, headers, "/resources", lake)
    await post(
        server,
        headers,
        "/resources",
        lake | {"name": "ops-lake", "audience": "x-ops", "labels": ["team=ops"]},
    )
    for name, labels in (("etl-hosts", ETL), ("ops-hosts", {"team": "ops"}), ("any-host", {})):
        await enroll(server, headers, name, labels, f"n-{name}-new")
    # It chose the label itself: the Worker is in the scope, and its enrollment key is not.
    await enroll(server, headers, "no-team", {}, "etl-by-itself", labels=ETL)
    await post(server, headers, "/api-tokens", {"name": "root-token", "role": "viewer"})
    return headers


async def enroll(server, headers, key_name, key_labels, name, **metadata):
    """Issue an enrollment key, and let a Worker enroll with it that waits for approval; return its ID."""
    rules = {"name": key_name, "labels": key_labels, "mode": "approve"}
    issued = await post(server, headers, "/enrollment/keys", rules)
    identity = generate_identity_key()
    given = server.proof(identity, name, secret=issued["key"])
    answer = await server.register(identity, name, credential=given, **metadata)
    assert answer.status_code == 201, answer.text
    return answer.json()["client_id"]


def id_of(server, name):
    """Return the ID of the Worker with a name."""
    return next(worker.id for worker in server.services.directory.workers() if worker.name == name)


async def browser_of(server, root, role):
    """Return the browser of an operator of the team."""
    await post(server, root, "/operators", {"name": "anna", "role": role, "password": PASSWORD, "scope": ETL})
    own = {"current_password": PASSWORD, "new_password": OWN_PASSWORD}
    await server.http.post("/api/me/password", json=own, headers=await server.sign_in("anna", PASSWORD))
    return await signed_in(server, "anna", OWN_PASSWORD)


@pytest.fixture
async def anna(server, root):
    """Return the browser of an admin with a scope."""
    made = await browser_of(server, root, "admin")
    yield made
    await made.http.aclose()


def test_every_page_says_whether_it_stays_within_a_scope():
    """Row by row: those above, and no others."""
    for entry in PAGES:
        is_open = entry.path in OPEN and not (entry.method == "POST" and entry.path in CHANGES_OF_RESOURCES)
        assert entry.in_scope is (is_open or entry.action in OWN), name_of(entry)


async def test_a_page_that_does_not_say_so_is_refused(server, anna, unhurried, subtests):
    """The form too, and nothing is written."""
    before = server.services.store.audit_length
    for entry in PAGES:
        if entry.in_scope:
            continue
        path = fill(entry.path)

        answer = await (
            anna.get(path) if entry.method == "GET" else anna.post(path, name="x", action="delete")
        )

        with subtests.test(name_of(entry)):
            assert answer.status_code == 403
            assert server.services.store.audit_length == before


async def test_the_menu_leads_to_what_is_open(server, anna):
    """No entry of it is refused, and the first page is the team's list."""
    first = await anna.get("/")
    assert (first.status_code, first.headers["location"]) == (303, "/workers")
    page = await anna.get("/workers")
    menu = re.search(r"<nav aria-label=.Main.>.*?</nav>", page.text, re.DOTALL)
    assert menu is not None
    links = re.findall(r'href="([^"]+)"', menu[0])

    assert links == ["/workers", "/enrollment", "/api-keys", "/resources", "/api-tokens"]
    for link in links:
        assert (await anna.get(link)).status_code == 200
    assert "admin of team=etl" in page.text


async def test_no_link_of_a_page_is_refused(server, anna, subtests):
    """Neither in the lists nor in the text, also while there is nothing yet."""
    ways = set()
    for path in PAGES_OF_THE_TEAM:
        page = await anna.get(path)
        ways |= {(way, path) for way in re.findall(r'(?:href|action)="(/[^"?]*)', page.text)}
    for way, path in sorted(ways):
        if not way.startswith("/static"):
            with subtests.test(f"{way} on {path}"):
                assert (await anna.get(way)).status_code != 403


PAGES_OF_THE_TEAM = [
    "/workers",
    "/workers?q=" + quote("status:never_connected"),
    "/workers?q=" + quote("-team=etl"),
    "/workers/etl-1",
    "/workers/etl-1/delete",
    "/workers/etl-1/waiting",
    "/change-workers?action=delete&id=etl-1&id=ops-1",
    "/add-worker",
    "/api-keys",
    "/api-keys/etl-only",
    "/api-keys/etl-only/revoke",
    "/issue-api-key",
    "/resources",
    "/resources/etl-lake",
    "/jump?q=",
    "/jump?q=n-",
    "/jump?q=host",
    "/jump?q=lake",
    "/jump?q=token",
    "/jump?q=" + quote("team="),
    "/enrollment",
    "/issue-enrollment-key",
    "/enrollment/etl-hosts",
    "/enrollment/etl-hosts/waiting",
    "/enrollment/etl-hosts/rotate",
    "/enrollment/etl-hosts/end-previous",
    "/enrollment/etl-hosts/revoke",
    "/approvals",
    "/api-tokens",
    "/issue-api-token",
]
OUTSIDE = (
    "n-ops-1",
    "/workers/ops-1",
    "shared",
    "for-all",
    "ops-lake",
    "x-ops",
    "ops-hosts",
    "any-host",
    "no-team",
    "root-token",
    "startup",
)


@pytest.mark.parametrize("path", PAGES_OF_THE_TEAM)
async def test_no_page_names_what_is_outside(server, anna, path):
    """Neither in a list, nor in a form, nor in what is asked before something is done to many."""
    page = await anna.get(path)

    assert page.status_code == 200
    # The link back carries what was asked for.
    for name in OUTSIDE:
        assert name not in page.text, name


async def test_no_page_differs_by_what_another_team_has(server, root, anna, subtests):
    """Byte by byte: no count, name or order tells that others have added, rotated, revoked or disabled something."""
    await anna.post("/issue-api-token", name="etl-ci", role="viewer", life="7d", scope="")
    # Its page says once that the secret is not shown again.
    await anna.get("/api-tokens/etl-ci")
    paths = [*PAGES_OF_THE_TEAM, "/api-tokens/etl-ci", "/api-tokens/etl-ci/revoke"]
    before = {path: await anna.get(path) for path in paths}

    body = {"name": "n-ops-2", "id": "ops-2", "labels": {"team": "ops"}, "issue_key": True}
    await post(server, root, "/workers", body)
    await post(server, root, "/api-keys", {"name": "n-ops-keys", "worker_ids": ["ops-1", "ops-2"]})
    await enroll(server, root, "n-ops-more", {"team": "ops"}, "n-ops-late")
    await enroll(server, root, "n-more", {}, "n-late")
    await post(server, root, "/enrollment/keys/ops-hosts/rotate", {"grace_s": 3600})
    lake = {"name": "n-ops-lake", "audience": "https://n-ops.example", "labels": ["team=ops"]}
    await post(server, root, "/resources", lake)
    await post(server, root, "/api-tokens", {"name": "n-root-token", "role": "viewer"})
    scope = {"team": "ops"}
    await post(server, root, "/operators", {"name": "n-otto", "role": "admin", "scope": scope})
    waiting = [id_of(server, "n-ops-hosts-new"), id_of(server, "n-any-host-new")]
    await server.http.post("/api/enrollment/deny", json={"worker_ids": waiting}, headers=root)

    for path, page in before.items():
        with subtests.test(path):
            assert (await anna.get(path)).content == page.content


async def test_what_asks_about_waiting_workers_leaves_out_those_of_others(server, root, anna):
    """Also those that were denied, which only their IDs name, and the name of a key outside the scope."""
    ours, theirs = id_of(server, "n-etl-hosts-new"), id_of(server, "n-ops-hosts-new")
    denied = id_of(server, "n-any-host-new")
    await server.http.post("/api/enrollment/deny", json={"worker_ids": [denied]}, headers=root)

    page = await anna.get(f"/decide-approvals?action=approve&id={ours}&id={theirs}&id={denied}")

    assert "Approve 1 Worker?" in page.text
    assert theirs not in page.text
    assert denied not in page.text
    pending = await anna.get("/approvals")
    assert "2 Workers" in pending.text
    assert "etl-by-itself" in pending.text


async def test_the_panel_of_another_teams_new_workers_does_not_exist(server, root, anna):
    """It looks like that of a number that no addition has; one's own has no link to refusals, which are closed."""
    theirs = await post(server, root, "/workers/batch", {"names": "ops-[8-9]", "labels": {"team": "ops"}})
    ours = await post(server, root, "/workers/batch", {"names": "e-[8-9]", "ids": "e-[8-9]", "labels": ETL})
    form = {"grant_type": "client_credentials"}
    await server.http.post("/oauth2/token", data=form, auth=("e-8", "lyftdata_wrong"))
    panel = "/added-workers/{}/waiting"

    other, absent = await anna.get(panel.format(theirs["number"])), await anna.get(panel.format(1))
    own = await anna.get(panel.format(ours["number"]))

    assert (other.status_code, absent.status_code, own.status_code) == (404, 404, 200)
    assert re.sub(rf"\b{theirs['number']}\b", "1", other.text) == absent.text
    assert "<b>0 of 2 Workers are online.</b>" in own.text
    assert "e-8 (" in own.text
    assert "/refusals/" not in own.text + (await anna.get("/workers/e-8/waiting")).text


async def test_the_list_counts_the_workers_of_the_team(server, anna, browser):
    """Of four, and not of seven; the page has no stream that tells of changes elsewhere."""
    page, whole = await anna.get("/workers?q=etl-1"), await browser.get("/workers?q=etl-1")

    assert ("1 Worker of 4" in page.text, "1 Worker of 7" in whole.text) == (True, True)
    assert ("data-live" in page.text, "data-live" in whole.text) == (False, True)


@pytest.mark.parametrize("path", ["/workers/{}", "/workers/{}/disable", "/workers/{}/delete"])
async def test_a_page_of_another_teams_worker_does_not_exist(server, anna, path):
    """It looks like that of an ID that was made up."""
    page, absent = await anna.get(path.format("ops-1")), await anna.get(path.format("absent"))

    assert page.status_code == absent.status_code == 404
    # Both name the path that was asked for.
    assert page.text.replace("ops-1", "absent") == absent.text


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/enrollment/{}", "ops-hosts"),
        ("/enrollment/{}", "any-host"),
        ("/enrollment/{}", "startup"),
        ("/enrollment/{}/waiting", "ops-hosts"),
        ("/enrollment/{}/rotate", "ops-hosts"),
        ("/enrollment/{}/end-previous", "any-host"),
        ("/enrollment/{}/revoke", "no-team"),
        ("/api-tokens/{}", "root-token"),
        ("/api-tokens/{}/revoke", "root-token"),
        ("/jump?q={}", "root-token"),
        ("/jump?q={}", "ops-hosts"),
        ("/jump?q={}", "ops-1"),
        ("/jump?q={}", "n-ops-hosts-new"),
        ("/jump?q={}", "ops-lake"),
    ],
)
async def test_what_is_outside_looks_like_what_was_made_up(server, anna, path, name):
    """Keys, tokens and waiting Workers of others: the page is that of a name that nothing has."""
    page, absent = await anna.get(path.format(name)), await anna.get(path.format("absent-one"))

    assert page.status_code == absent.status_code
    assert page.text.replace(name, "absent-one") == absent.text


async def test_a_viewer_of_a_team_reads_and_changes_nothing(server, root, unhurried, subtests):
    """Page by page: what the policy table lets a viewer do, and nothing else."""
    bert = await browser_of(server, root, "viewer")
    before = server.services.store.audit_length
    for entry in PAGES:
        if entry.action in OWN:
            continue
        path = fill(entry.path)

        answer = await (
            bert.get(path) if entry.method == "GET" else bert.post(path, name="x", action="delete")
        )

        with subtests.test(name_of(entry)):
            may = entry.in_scope and Role.VIEWER in ACTIONS[entry.action].roles
            assert (answer.status_code != 403) is may
            assert server.services.store.audit_length == before
    await bert.http.aclose()


async def test_a_leaked_key_is_not_looked_for_within_a_scope(server, root, anna):
    """The page that could is closed to the team, and is not offered."""
    issued = await post(server, root, "/api-keys", {"name": "leaked", "worker_ids": ["etl-1"]})

    page = await anna.get(f"/jump?q={issued['key']}")

    assert "This holds a key, which is not searched for here." in page.text
    assert "/incident" not in page.text


async def test_forms_change_nothing_of_another_team(server, anna):
    """One or many at once, whatever is written into a form."""
    directory = server.services.directory
    theirs = [id_of(server, name) for name in ("n-ops-hosts-new", "n-any-host-new")]
    rules = dict.fromkeys(("life", "uses", "worker_name", "networks", "approve_name", "approve_networks"), "")
    before = server.services.store.audit_length

    for path, fields in (
        ("/approvals", {"action": "approve", "id": theirs}),
        ("/approvals", {"action": "deny", "id": theirs}),
        ("/enrollment/ops-hosts/revoke", {}),
        ("/enrollment/any-host/revoke", {}),
        ("/enrollment/ops-hosts/rotate", {"grace": "0s"}),
        ("/enrollment/any-host/end-previous", {}),
        ("/enrollment/startup/revoke", {}),
        ("/issue-enrollment-key", rules | {"name": "mine-1", "mode": "auto", "labels": "team=ops"}),
        ("/api-tokens/root-token/revoke", {}),
        ("/workers/ops-1/disable", {}),
        ("/workers/ops-1/delete", {}),
        ("/workers/ops-1/rotate-key", {}),
        ("/workers/ops-1", {"name": "mine", "labels": "team=etl"}),
        ("/workers?action=label", {"id": "ops-1", "labels": "team=etl"}),
        ("/workers?action=delete", {"id": "ops-1", "confirmed": "yes"}),
        ("/workers?action=disable", {"id": "ops-1", "confirmed": "yes"}),
        ("/api-keys/shared/revoke", {}),
        ("/api-keys/for-all/rotate", {"grace": "0s"}),
        ("/issue-api-key", {"name": "a-new-key", "life": "", "for": "all", "workers": ""}),
        ("/issue-api-key", {"name": "a-new-key", "life": "", "for": "some", "workers": "ops-1"}),
        ("/workers/etl-1", {"name": "n-etl-1", "labels": "team=ops"}),
        ("/workers?action=label", {"id": "etl-1", "labels": "team=ops"}),
    ):
        await anna.post(path, **fields)
        assert server.services.store.audit_length == before, path
    assert directory.find_worker("ops-1").enabled


async def test_a_team_works_with_its_pages(server, anna):
    """Add a Worker, disable one, delete two that were ticked."""
    assert (await anna.post("/add-worker", name="new", id="etl-3", labels="")).status_code == 200
    assert server.services.directory.find_worker("etl-3").labels == ETL
    assert (await anna.post("/workers/etl-1/disable")).status_code == 303
    assert not server.services.directory.find_worker("etl-1").enabled

    await anna.post("/workers?action=delete", id=["etl-2", "etl-3", "ops-1"], confirmed="yes")

    left = {worker.id for worker in server.services.directory.workers()}
    assert {"etl-1", "etl-2", "etl-3", "ops-1"} & left == {"etl-1", "ops-1"}


async def test_a_team_issues_rotates_and_revokes_its_enrollment_keys(server, anna):
    """Whatever labels the form has, those of the scope are on each Worker that such a key enrolls."""
    rules = dict.fromkeys(("life", "uses", "worker_name", "networks", "approve_name", "approve_networks"), "")
    made = await anna.post(
        "/issue-enrollment-key", **rules, name="etl-more", mode="auto", labels="zone=eu", ephemeral=""
    )
    assert "lyftdata_enroll_" in made.text
    view = await server.services.enrollment_key_queries.get("etl-more", scope=UNLIMITED)
    assert view.labels == ETL | {"zone": "eu"}
    assert "etl-more" in (await anna.get("/enrollment")).text

    rotated = await anna.post_shown("/enrollment/etl-more/rotate", "/enrollment/etl-more/rotate", grace="1h")
    assert "lyftdata_enroll_" in rotated.text
    assert (await anna.post("/enrollment/etl-more/revoke")).status_code == 303
    view = await server.services.enrollment_key_queries.get("etl-more", scope=UNLIMITED)
    assert (view.generation, view.status) == (2, "revoked")


async def test_a_team_approves_its_workers_and_no_others(server, anna):
    """One form with both: its own is let in, and of the other it reads that there is none."""
    ours, theirs = id_of(server, "n-etl-hosts-new"), id_of(server, "n-ops-hosts-new")

    await anna.post("/approvals", action="approve", id=[ours, theirs])

    directory = server.services.directory
    assert (directory.find_worker(ours).approval, directory.find_worker(theirs).approval) == (None, "pending")


async def test_a_token_of_a_team_is_no_wider_than_its_operator(server, root, anna):
    """Issued in the pages it has the scope; it is listed to its operator, who revokes it."""
    made = await anna.post("/issue-api-token", name="etl-ci", role="admin", life="7d", scope="")
    token = the(r"lyftdata_token_[A-Za-z0-9_]+", made)
    bearer = {"Authorization": f"Bearer {token}"}

    listed = (await server.http.get("/api/workers", headers=bearer)).json()["items"]
    assert {worker["labels"].get("team") for worker in listed} == {"etl"}
    tokens = await anna.get("/api-tokens")
    assert ("etl-ci" in tokens.text, "root-token" in tokens.text) == (True, False)
    assert (await anna.post("/api-tokens/etl-ci/revoke")).status_code == 303
    assert (await server.http.get("/api/workers", headers=bearer)).status_code == 401
