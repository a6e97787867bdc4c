"""Which pages are open to operators with a scope, and what these show and change."""

import re
from urllib.parse import quote

import pytest
from tests.deployment import PASSWORD
from tests.unit.web.conftest import signed_in
from tests.unit.web.test_gate import fill, name_of

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
    return headers


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

    assert links == ["/workers", "/api-keys", "/resources"]
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
]


@pytest.mark.parametrize("path", PAGES_OF_THE_TEAM)
async def test_no_page_names_what_is_outside(server, anna, path):
    """Neither in a list, nor in a form, nor in what is asked before something is done to many."""
    page = await anna.get(path)

    assert page.status_code == 200
    # The link back carries what was asked for.
    for name in ("n-ops-1", "/workers/ops-1", "shared", "for-all", "ops-lake", "x-ops"):
        assert name not in page.text, name


async def test_the_list_counts_the_workers_of_the_team(server, anna, browser):
    """Of two, and not of three; the page has no stream that tells of changes elsewhere."""
    page, whole = await anna.get("/workers?q=etl-1"), await browser.get("/workers?q=etl-1")

    assert ("1 Worker of 2" in page.text, "1 Worker of 3" in whole.text) == (True, True)
    assert ("data-live" in page.text, "data-live" in whole.text) == (False, True)


@pytest.mark.parametrize("path", ["/workers/{}", "/workers/{}/disable", "/workers/{}/delete"])
async def test_a_page_of_another_teams_worker_does_not_exist(server, anna, path):
    """It looks like that of an ID that was made up."""
    page, absent = await anna.get(path.format("ops-1")), await anna.get(path.format("absent"))

    assert page.status_code == absent.status_code == 404
    # Both name the path that was asked for.
    assert page.text.replace("ops-1", "absent") == absent.text


async def test_forms_change_nothing_of_another_team(server, anna):
    """One or many at once, whatever is written into a form."""
    before = server.services.store.audit_length
    directory = server.services.directory

    for path, fields in (
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

    assert {worker.id for worker in server.services.directory.workers()} == {"etl-1", "ops-1"}
