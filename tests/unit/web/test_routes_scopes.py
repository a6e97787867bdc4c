"""Which pages are open to operators with a scope, and what these pages show and change."""

import re
from urllib.parse import quote

import pytest
from tests.deployment import PASSWORD
from tests.unit.web.conftest import get_match, signed_in
from tests.unit.web.test_gate import fill, name_of

from lyftdata.core.identity_keys import generate_identity_key
from lyftdata.core.policy import ACTIONS
from lyftdata.core.records import Role
from lyftdata.core.scopes import UNLIMITED
from lyftdata.web.routes import PAGES

ETL = {"team": "etl"}
OWN_PASSWORD = "zzz " + PASSWORD
# Pages that are marked as staying within the scope, apart from those of the operator's own account; all others are refused. Add a new
# page here once that is true.
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
    """Create something through the API."""
    answer = await server.http.post(f"/api{path}", json=body, headers=headers)
    assert answer.status_code == 201, answer.text
    return answer.json()


@pytest.fixture
async def root(server, browser):
    """Return an admin's headers, in a deployment with the Workers of two teams."""
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
    # The Worker chose the label itself: it is in the scope, but its enrollment key is not.
    await enroll(server, headers, "no-team", {}, "etl-by-itself", labels=ETL)
    await post(server, headers, "/api-tokens", {"name": "root-token", "role": "viewer"})
    return headers


async def enroll(server, headers, key_name, key_labels, name, **metadata):
    """Issue an enrollment key, enroll a Worker with it that waits for approval, and return the Worker's ID."""
    rules = {"name": key_name, "labels": key_labels, "mode": "approve"}
    issued = await post(server, headers, "/enrollment/keys", rules)
    identity = generate_identity_key()
    given = server.proof(identity, name, secret=issued["key"])
    answer = await server.register(identity, name, credential=given, **metadata)
    assert answer.status_code == 201, answer.text
    return answer.json()["client_id"]


def id_of(server, name):
    """Return the ID of the Worker with this name."""
    return next(worker.id for worker in server.services.directory.workers() if worker.name == name)


async def browser_of(server, root, role):
    """Return the browser of an operator of the team."""
    await post(server, root, "/operators", {"name": "anna", "role": role, "password": PASSWORD, "scope": ETL})
    own = {"current_password": PASSWORD, "new_password": OWN_PASSWORD}
    await server.http.post("/api/me/password", json=own, headers=await server.sign_in("anna", PASSWORD))
    return await signed_in(server, "anna", OWN_PASSWORD)


@pytest.fixture
async def anna(server, root):
    """Yield the browser of an admin with a scope."""
    made = await browser_of(server, root, "admin")
    yield made
    await made.http.aclose()


def test_only_the_pages_above_are_marked_as_staying_within_a_scope():
    """Checked for each page, in both directions."""
    for entry in PAGES:
        is_open = entry.path in OPEN and not (entry.method == "POST" and entry.path in CHANGES_OF_RESOURCES)
        assert entry.in_scope is (is_open or entry.action in OWN), name_of(entry)


async def test_an_operator_with_a_scope_is_refused_every_other_page(server, anna, unhurried, subtests):
    """Forms too, and nothing is written."""
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


async def test_the_menu_has_only_pages_that_are_open(server, anna):
    """No link in it is refused, and the first page is the team's list of Workers."""
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


async def test_no_page_links_to_a_refused_page(server, anna, subtests):
    """Neither from lists nor from text, also while there is nothing yet."""
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
async def test_no_page_names_anything_outside_the_scope(server, anna, path):
    """Neither in a list, nor in a form, nor in the confirmation of a bulk action."""
    page = await anna.get(path)

    assert page.status_code == 200
    # The link back repeats the requested IDs, so that OUTSIDE has no bare ones.
    for name in OUTSIDE:
        assert name not in page.text, name


async def test_pages_do_not_change_when_another_team_changes_something(server, root, anna, subtests):
    """Byte by byte: no count, name or order reveals that others added, rotated, revoked or disabled something."""
    await anna.post("/issue-api-token", name="etl-ci", role="viewer", life="7d", scope="")
    # Load its page once, since the first time it says that the secret is not shown again.
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


async def test_the_approval_pages_leave_out_other_teams_workers(server, root, anna):
    """Also denied ones, which are known only by their IDs, and the name of a key outside the scope."""
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


async def test_the_panel_of_another_teams_new_workers_is_not_found(server, root, anna):
    """It looks like that of a number that was never used; the team's own has no link to refusals, which it may not open."""
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


async def test_the_list_counts_only_the_teams_workers(server, anna, browser):
    """Four, not seven; the page has no event stream, which would reveal changes elsewhere."""
    page, whole = await anna.get("/workers?q=etl-1"), await browser.get("/workers?q=etl-1")

    assert ("1 Worker of 4" in page.text, "1 Worker of 7" in whole.text) == (True, True)
    assert ("data-live" in page.text, "data-live" in whole.text) == (False, True)


@pytest.mark.parametrize("path", ["/workers/{}", "/workers/{}/disable", "/workers/{}/delete"])
async def test_another_teams_worker_is_not_found(server, anna, path):
    """The page looks like that of a made-up ID."""
    page, absent = await anna.get(path.format("ops-1")), await anna.get(path.format("absent"))

    assert page.status_code == absent.status_code == 404
    # Both name the requested path.
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
async def test_an_object_outside_the_scope_looks_like_a_made_up_one(server, anna, path, name):
    """Other teams' keys, tokens and waiting Workers get the page of a name that does not exist."""
    page, absent = await anna.get(path.format(name)), await anna.get(path.format("absent-one"))

    assert page.status_code == absent.status_code
    assert page.text.replace(name, "absent-one") == absent.text


async def test_a_viewer_of_a_team_reads_and_changes_nothing(server, root, unhurried, subtests):
    """Page by page: exactly what the policy table lets a viewer do."""
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


async def test_an_operator_with_a_scope_cannot_search_for_a_leaked_key(server, root, anna):
    """The page that does this is closed to the team, and is not linked."""
    issued = await post(server, root, "/api-keys", {"name": "leaked", "worker_ids": ["etl-1"]})

    page = await anna.get(f"/jump?q={issued['key']}")

    assert "This holds a key, which is not searched for here." in page.text
    assert "/incident" not in page.text


async def test_forms_change_nothing_of_another_team(server, anna):
    """One at a time or in bulk, whatever is written into the form."""
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


async def test_a_team_adds_disables_and_deletes_its_workers(server, anna):
    """A bulk deletion that also names another team's Worker leaves that one alone."""
    assert (await anna.post("/add-worker", name="new", id="etl-3", labels="")).status_code == 200
    assert server.services.directory.find_worker("etl-3").labels == ETL
    assert (await anna.post("/workers/etl-1/disable")).status_code == 303
    assert not server.services.directory.find_worker("etl-1").enabled

    await anna.post("/workers?action=delete", id=["etl-2", "etl-3", "ops-1"], confirmed="yes")

    left = {worker.id for worker in server.services.directory.workers()}
    assert {"etl-1", "etl-2", "etl-3", "ops-1"} & left == {"etl-1", "ops-1"}


async def test_a_team_issues_rotates_and_revokes_its_enrollment_keys(server, anna):
    """Whatever labels the form has, the labels of the scope are put on each Worker that such a key enrolls."""
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


async def test_a_team_approves_only_its_own_workers(server, anna):
    """In one form with both, its own Worker is approved and the other one stays pending."""
    ours, theirs = id_of(server, "n-etl-hosts-new"), id_of(server, "n-ops-hosts-new")

    await anna.post("/approvals", action="approve", id=[ours, theirs])

    directory = server.services.directory
    assert (directory.find_worker(ours).approval, directory.find_worker(theirs).approval) == (None, "pending")


async def test_a_teams_api_token_has_its_operators_scope(server, root, anna):
    """It is listed for its operator, who can revoke it."""
    made = await anna.post("/issue-api-token", name="etl-ci", role="admin", life="7d", scope="")
    token = get_match(r"lyftdata_token_[A-Za-z0-9_]+", made)
    bearer = {"Authorization": f"Bearer {token}"}

    listed = (await server.http.get("/api/workers", headers=bearer)).json()["items"]
    assert {worker["labels"].get("team") for worker in listed} == {"etl"}
    tokens = await anna.get("/api-tokens")
    assert ("etl-ci" in tokens.text, "root-token" in tokens.text) == (True, False)
    assert (await anna.post("/api-tokens/etl-ci/revoke")).status_code == 303
    assert (await server.http.get("/api/workers", headers=bearer)).status_code == 401
