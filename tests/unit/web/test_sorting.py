"""Lists are sorted by every column in both directions, as the URL says."""

import re
from html import unescape
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
from tests.deployment import PASSWORD
from tests.unit.web.test_faults import add_requests
from tests.unit.web.test_pages import ACTOR

from lyftdata.core.identity_keys import generate_identity_key
from lyftdata.core.records import EnrollmentMode
from lyftdata.server.admin.enrollment_keys import EnrollmentKeyRules
from lyftdata.web.sorting import Sorting, folded, in_order, place_in

SORTING = Sorting(path="/things", columns=("name", "seen"), default="name", highest_first=("seen",))
VALUES = {"name": lambda row: row[0], "seen": lambda row: row[1]}
ROWS = [("b", 1), ("a", 1), ("d", None), ("c", 2), ("e", None)]

# Each list's sortable columns in their order, and the default one.
LISTS = {
    "/workers": ("name status host address version labels key seen", "name"),
    "/api-keys": ("name status for connected expires used", "name"),
    "/enrollment": ("name status uses enrolled expires mode only-for", "name"),
    "/resources": ("name audience scopes workers", "name"),
    "/api-tokens": ("name status role operator expires used", "name"),
    "/event-destinations": ("name to state waiting success", "name"),
    "/operators": ("name role scope added", "name"),
    "/approvals": ("name fingerprint address host labels key since expires", "since"),
    "/requests": ("what state operator since", "-since"),
}
SESSIONS = "who from with signed-in ends"


@pytest.mark.parametrize(
    ("order", "names"), [("name", "abcde"), ("-name", "edcba"), ("seen", "abcde"), ("-seen", "cabde")]
)
def test_rows_without_a_value_come_last_in_both_directions(order, names):
    """A list sorted by last use never begins with what was never used. Equal rows keep their order."""
    shown = in_order(ROWS, SORTING.order(order), VALUES, tie=lambda row: row[0])

    assert "".join(name for name, _ in shown) == names


def test_a_heading_sorts_and_then_reverses():
    """Times and numbers start with the highest; the default order is not in the URL; filters are kept."""
    usual, seen, rising = (SORTING.order(text, q="a&b", state="") for text in ("name", "-seen", "seen"))

    assert usual.parameters == {"q": "a&b"}
    assert (usual.headings["name"].address, usual.headings["name"].direction) == (
        "/things?q=a%26b&sort=-name",
        "ascending",
    )
    assert (usual.headings["seen"].address, usual.headings["seen"].direction) == (
        "/things?q=a%26b&sort=-seen",
        "",
    )
    assert seen.parameters == {"q": "a&b", "sort": "-seen"}
    assert (seen.headings["seen"].address, seen.headings["seen"].direction) == (
        "/things?q=a%26b&sort=seen",
        "descending",
    )
    assert seen.headings["name"].address == "/things?q=a%26b"
    assert rising.headings["seen"].address == "/things?q=a%26b&sort=-seen"


def test_texts_are_compared_without_case_and_states_as_listed():
    """An empty text counts as no value; an unlisted state comes after the listed ones."""
    place = place_in("live", "expired")

    assert (folded("Ab"), folded(["Ab", "C"]), folded(""), folded(None), folded([])) == (
        "ab",
        ["ab", "c"],
        None,
        None,
        None,
    )
    assert [place(state) for state in ("live", "expired", "other", None)] == [0, 1, 2, 2]


@pytest.fixture
async def lists(server, browser, press):
    """Return a browser, with two entries in every list."""
    admin = await server.sign_in(password="xxx " + PASSWORD)
    for name, worker_ids in (("keys-a", ["press-01"]), ("Keys-b", None)):
        await post(server, admin, "api-keys", {"name": name, "worker_ids": worker_ids})
    for name, audience in (("broker-a", "https://b.example"), ("broker-b", "https://A.example")):
        body = {"name": name, "audience": audience, "for_all_workers": True}
        await post(server, admin, "resources", body)
        body = {"name": name, "transport": "webhook", "url": f"{audience}/hook"}
        await post(server, admin, "event-destinations", body)
    await post(server, admin, "operators", {"name": "vic", "role": "viewer", "password": "vic " + PASSWORD})
    for name in ("ci-deploy", "ci-report"):
        await browser.post("/issue-api-token", name=name, role="viewer", life="90d", scope="")
    rules = EnrollmentKeyRules(mode=EnrollmentMode.APPROVE)
    issued = await server.services.enrollment_keys.issue("etl-hosts", rules, actor=ACTOR)
    for name in ("etl-1", "etl-2"):
        key = generate_identity_key()
        proof = server.proof(key, name, secret=issued.text.reveal())
        await server.register(key, name, credential=proof, host={"hostname": f"{name}.example"})
    await server.services.store.write(lambda tx: add_requests(tx, server.clock()))
    await server.token_by_key("press-01", "nonsense")
    await server.token_by_key("press-99", "nonsense")
    return browser


async def post(server, admin, path, body):
    """Create something through the API."""
    answer = await server.http.post(f"/api/{path}", json=body, headers=admin)
    assert answer.status_code == 201, (path, answer.text)


def headings(page):
    """Return the sortable headings of a page in order: the URL of each, and its direction or ""."""
    found = re.findall(r'<th scope="col"([^>]*)><a href="([^"]+)">', page.text)
    direction = r'aria-sort="([a-z]+)"'
    return [(unescape(path), (re.findall(direction, tag) or [""])[0]) for tag, path in found]


def columns_of(found, parameter="sort"):
    """Return the columns by which a list's headings sort it."""
    return [parse_qs(urlsplit(path).query).get(parameter, [""])[0].removeprefix("-") for path, _ in found]


async def test_every_list_can_be_sorted_by_every_column(lists, subtests):
    """Each heading links to the order by its column and then to the reverse, and only the sorted column is marked."""
    for path, (names, default) in LISTS.items():
        columns, usual = names.split(), default.removeprefix("-")
        shown = headings(await lists.get(path))[: len(columns)]
        assert [one or usual for one in columns_of(shown)] == columns
        for number, column in enumerate(columns):
            with subtests.test(path=path, column=column):
                first, _ = shown[number]
                once = headings(await lists.get(first))[: len(columns)]
                twice = headings(await lists.get(once[number][0]))[: len(columns)]
                assert [bool(direction) for _, direction in once] == [one == column for one in columns]
                assert {once[number][1], twice[number][1]} == {"ascending", "descending"}
                assert twice[number][0] == first


async def test_operators_and_sessions_are_sorted_independently(lists):
    """Each table's links keep the other's order; the account page has only one table."""
    columns = SESSIONS.split()
    shown = headings(await lists.get("/operators?sort=-role&sessions=from"))
    assert columns_of(shown[4:], "sessions") == [*columns[:3], "", "ends"]
    assert {parse_qs(urlsplit(path).query)["sort"][0] for path, _ in shown[4:]} == {"-role"}
    assert {parse_qs(urlsplit(path).query)["sessions"][0] for path, _ in shown[:4]} == {"from"}
    assert [direction for _, direction in shown] == ["", "descending", "", "", "", "ascending", "", "", ""]

    assert len(headings(await lists.get("/account?sessions=-who"))) == len(columns)


async def test_an_unknown_order_is_rejected(lists, subtests):
    """No list silently uses another order than the requested one, and the value never becomes markup."""
    paths = [(path, "sort") for path in [*LISTS, "/refusals"]]
    for path, parameter in [*paths, ("/account", "sessions"), ("/operators", "sessions")]:
        for order in ("nonsense", "--name", "name,-what", "-", "<script>", "x" * 5_000, "id'; --"):
            with subtests.test(path=path, order=order[:20]):
                answer = await lists.get(f"{path}?{urlencode({parameter: order})}")
                assert answer.status_code == 422
                assert "<script>" not in answer.text


async def test_the_list_of_refusals_keeps_its_order_and_its_filter(lists):
    """Causes and callers are sorted together; the refresh, the tabs and the form all keep the order."""
    await lists.get("/refusals")
    page = await lists.get("/refusals?q=press&sort=count")

    assert 'hx-get="/refusals?q=press&amp;sort=count"' in page.text
    assert 'href="/refusals?q=press&amp;state=ignored&amp;sort=count"' in page.text
    assert '<input type="hidden" name="sort" value="count">' in page.text
    assert re.findall(r'href="([^"]+)" aria-current="true">Refusals', page.text) == [
        "/refusals?q=press&amp;sort=-count"
    ]
    names = [
        re.findall(r"<b>([^<]+|<bdi>[^<]+</bdi>)</b></a>", (await lists.get(f"/refusals?sort={sort}")).text)
        for sort in ("name", "-name")
    ]
    assert len(names[0]) == 2
    assert names[0] == names[1][::-1]


async def test_the_list_of_api_keys_keeps_its_order_and_its_filter(lists):
    """A heading keeps the filter, and the filter's form keeps the order."""
    page = await lists.get("/api-keys?q=keys&sort=-expires")

    assert '<input type="hidden" name="sort" value="-expires">' in page.text
    assert all("q=keys" in path for path, _ in headings(page))
