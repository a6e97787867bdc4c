"""What pages show and do: each calls the same use cases as the command line."""

import asyncio
import html
import re
from datetime import timedelta
from itertools import chain

import pytest
from tests.deployment import PASSWORD
from tests.unit.web.conftest import Browser, get_match
from tests.unit.web.test_gate import GETS, fill, name_of, state_of

from lyftdata.core.actor import Actor
from lyftdata.core.identity_keys import generate_identity_key
from lyftdata.core.records import Role
from lyftdata.server.admin.audit_export import ExportForm
from lyftdata.server.admin.enrollment_keys import EnrollmentKeyRules

ACTOR = Actor(operator="admin", role=Role.ADMIN, session_id="s", address="192.0.2.50")
HOSTILE = "<script>alert('x')</script>"


def text_of(answer):
    """Return a page's text without markup."""
    return html.unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", answer.text)))


def seen(page):
    """Return the `seen` value of a page's first form: the values that it was shown with."""
    return get_match(r'name="seen" value="([^"]+)"', page)


async def names(server):
    """Return the names of all Workers."""
    return {record.name for record in server.services.directory.workers()}


# --- adding a Worker -------------------------------------------------------------------------------------


async def test_a_new_worker_gets_a_key_of_its_own(server, browser):
    """The key on the page authenticates this Worker; no other page shows it."""
    made = await browser.post(
        "/add-worker", name="press-01", id="press-01", labels="zone=eu-1,gpu", **{"with": "own"}
    )

    key = get_match(r"lyftdata_[0-9A-Za-z]{10}_[0-9A-Za-z]{38}", made)
    assert (await server.token_by_key("press-01", key)).status_code == 200
    record = server.services.directory.find_worker("press-01")
    assert (record.labels, record.created_by) == ({"zone": "eu-1", "gpu": ""}, "operator:admin")
    for entry in GETS:
        if entry.path != "/events":
            page = await browser.get(fill(entry.path).replace("press-keys", "press-01-key"))
            assert key[20:] not in page.text, entry.path


async def test_a_new_worker_may_use_an_existing_key(server, browser):
    """The key is not shown again."""
    admin = await server.sign_in(password="xxx " + PASSWORD)
    body = {"name": "press-keys", "worker_ids": []} | {"worker_ids": None}
    key = (await server.http.post("/api/api-keys", json=body, headers=admin)).json()["key"]

    form = {"with": "existing", "key_name": "press-keys"}
    made = await browser.post("/add-worker", name="press-02", id="press-02", **form)

    assert made.status_code == 200
    assert key not in made.text
    assert (await server.token_by_key("press-02", key)).status_code == 200


@pytest.mark.parametrize("why", ["gone", "revoked", "expired", "taken", "bad name"])
async def test_a_worker_that_cannot_be_added_leaves_nothing_behind(server, browser, press, why):
    """The form is shown again with the typed values and the error; no Worker without a key is left."""
    admin = await server.sign_in(password="xxx " + PASSWORD)
    body = {"name": "press-keys", "worker_ids": ["press-01"], "expires_in_s": 60}
    await server.http.post("/api/api-keys", json=body, headers=admin)
    form = {"name": "press-02", "id": "press-02", "with": "existing", "key_name": "press-keys"}
    match why:
        case "gone":
            form["key_name"] = "other-keys"
        case "revoked":
            await server.http.post("/api/api-keys/press-keys/revoke", headers=admin)
        case "expired":
            server.clock.forward(seconds=60)
        case "taken":
            form["id"] = "press-01"
        case "bad name":
            form["name"] = "x" * 65
    before = await state_of(server)

    answer = await browser.post("/add-worker", **form)

    assert answer.status_code in {404, 409, 422}
    assert 'data-say="alarm"' in answer.text
    assert f'value="{form["name"]}"' in answer.text
    assert await names(server) == {"press-01"}
    assert await state_of(server) == before


async def test_the_waiting_page_says_why_a_worker_was_refused(server, browser, press):
    """The panel after *New Worker* says that it waits, that the Worker was refused and why, or that it was deleted."""
    waiting = await browser.get("/workers/press-01/waiting")
    assert "Waiting for press-01" in text_of(waiting)
    assert "hx-trigger" in waiting.text
    refused = await server.token_by_key("press-01", "nonsense")

    page = await browser.get("/workers/press-01/waiting")

    assert "not a complete API key" in page.text
    assert refused.json()["reference"] in page.text
    gone = await browser.get("/workers/nobody/waiting")
    assert ("deleted" in gone.text, "hx-trigger" in gone.text) == (True, False)


# --- the list --------------------------------------------------------------------------------------------


async def test_a_filter_is_kept_across_pages(server, browser):
    """120 Workers of which 60 match are two pages, and the link to the second keeps the filter."""
    for n in range(120):
        labels = {"even": "yes"} if n % 2 == 0 else {}
        await browser.post(
            "/add-worker", name=f"w-{n:03}", id=f"w-{n:03}", labels="even=yes" if labels else ""
        )
    first = await browser.get("/workers?q=even%3Dyes")
    way = html.unescape(get_match(r'href="(/workers\?[^"]*)" rel="next"', first))

    second = await browser.get(way)

    shown = [re.findall(r'name="id" value="([^"]+)"', page.text) for page in (first, second)]
    assert ([len(page) for page in shown], "60 Workers of 120" in text_of(first)) == ([50, 10], True)
    assert sorted(chain.from_iterable(shown)) == [f"w-{n:03}" for n in range(0, 120, 2)]


NONSENSE = [
    "status=nonsense&strategy=nonsense&sort=nonsense",
    "page=0",
    "page=-1",
    "page=999999999999999999999",
    "page=%C2%B2",
    "page=x&label==&key=x",
    "q=" + "x" * 5_000,
    "secret=%3Cscript%3E",
    "q=%ff%fe",
    "before=99999999999999999999999&action=%25&subject=%25",
    "period=nonsense",
    "code=nonsense",
    "done=%3Cscript%3E",
    "id=%22%3E%3Cscript%3E",
]


@pytest.mark.parametrize("path", ["/", "/workers", "/api-keys", "/refusals", "/audit", "/add-worker"])
async def test_nonsense_in_a_url_still_shows_a_page(browser, press, path, subtests):
    """No parameter breaks a page, and none of it becomes markup."""
    for query in NONSENSE:
        answer = await browser.get(f"{path}?{query}")

        with subtests.test(query[:80]):
            assert answer.status_code in {200, 422}
            assert '<nav aria-label="Main">' in answer.text
            assert "<script>" not in answer.text


@pytest.mark.parametrize("path", ["/", "/workers", "/api-keys", "/refusals", "/audit", "/add-worker"])
async def test_a_null_character_in_a_url_is_rejected(browser, press, path):
    """No database can store one, so it is never used in a query."""
    assert (await browser.get(f"{path}?key=%00&subject=%00")).status_code == 422


@pytest.mark.parametrize(
    "path",
    [
        "/workers/nobody",
        "/workers/%00",
        "/workers/..%2f..",
        "/api-keys/nokey",
        "/refusals/NOTHINGX",
        "/workers/a/b",
    ],
)
async def test_a_missing_object_is_a_404_page(browser, path):
    """The page has a link back."""
    answer = await browser.get(path, headers={"Accept": "text/html"})

    assert answer.status_code == 404
    assert 'href="/"' in answer.text


# --- bulk actions ----------------------------------------------------------------------------------------


async def test_archived_workers_are_a_click_away(server, browser, press):
    """The list leaves them out, says how many there are and links to them; their own page says what archived means."""
    worker_id, _ = await server.enrolled("etl-1")
    await server.services.traces.flush()
    server.clock.now += timedelta(days=40)
    await server.services.worker_archive.archive_inactive()
    await browser.sign_in("admin", "xxx " + PASSWORD)

    page = await browser.get("/workers")
    assert "1 Worker; 1 archived" in text_of(page)
    assert worker_id not in page.text
    archived = await browser.get(get_match(r'href="(/workers\?q=status:archived)"', page))
    assert "1 Worker of 1 archived" in text_of(archived)
    assert f"/workers/{worker_id}" in archived.text
    assert "its next token brings it back" in text_of(await browser.get(f"/workers/{worker_id}"))
    overview = text_of(await browser.get("/"))
    assert "1 archived" in overview
    assert "1 Worker with an API key has not been active for 30 days" in overview
    unseen = await browser.get("/workers?q=strategy:api_key+inactive:>30d")
    assert ("1 Worker of 1" in text_of(unseen), "press-01" in unseen.text) == (False, True)
    assert (await browser.get("/workers?q=inactive:>soon")).status_code == 422


async def test_bulk_actions_ask_for_confirmation(server, browser, press):
    """Disabling, enabling and deleting first say what they will do; once confirmed they do it, and the filter stays."""
    for action in ("disable", "delete", "enable"):
        asked = await browser.post("/workers", action=action, id=["press-01", "nobody"], q="press")
        way = asked.headers["location"]
        assert way == f"/change-workers?action={action}&q=press&id=press-01&id=nobody"
        assert f"{action.title()} 1 Worker?" in text_of(await browser.get(way))
        assert server.services.directory.find_worker("press-01").enabled
    done = await browser.post(
        "/workers", action="disable", id=["press-01", "nobody"], confirmed="yes", q="press", sort="-created"
    )
    assert done.headers["location"] == "/workers?q=press&sort=-created"
    notice_with = text_of(await browser.get(done.headers["location"]))
    assert "1 Worker was disabled. 1 Worker was not in the list any more." in notice_with
    assert not server.services.directory.find_worker("press-01").enabled
    await browser.post("/workers", action="enable", id="press-01")
    assert not server.services.directory.find_worker("press-01").enabled
    await browser.post("/workers", action="enable", id="press-01", confirmed="yes")
    assert server.services.directory.find_worker("press-01").enabled
    await browser.post("/workers", action="delete", id="press-01", confirmed="yes")
    assert await names(server) == set()


async def test_bulk_labels_are_added_to_existing_ones(server, browser, press):
    """A label is added or changed, the others stay."""
    await browser.post("/workers", action="label", id="press-01", labels="zone=eu-1,gpu")
    await browser.post("/workers", action="label", id="press-01", labels="zone=eu-2")
    assert server.services.directory.find_worker("press-01").labels == {"zone": "eu-2", "gpu": ""}


@pytest.mark.parametrize(
    "form",
    [
        {"action": "explode", "id": "press-01"},
        {"action": "disable"},
        {"action": "label", "id": "press-01", "labels": ""},
        {"action": "delete", "confirmed": "yes", "id": [f"w-{n}" for n in range(201)]},
        {"action": "label", "id": "press-01", "labels": "a b=c"},
        {"action": "label", "id": "press-01", "labels": ",".join(f"k{n}" for n in range(33))},
        {},
    ],
)
async def test_an_invalid_bulk_action_changes_nothing(server, browser, press, form):
    """The list is shown again, with the error."""
    before = await state_of(server)

    answer = await browser.post("/workers", **form)

    assert answer.status_code == 422
    assert 'data-say="alarm"' in answer.text
    assert "press-01" in answer.text
    assert await state_of(server) == before


# --- one Worker, keys, refusals, operators ---------------------------------------------------------------


async def test_a_worker_is_renamed_disabled_enabled_and_deleted(server, browser, press):
    """Each action does what its page said, and the timeline shows it."""
    await browser.post("/workers/press-01", name="The press", labels="gpu")
    await browser.post("/workers/press-01/disable")
    assert "Disabled: it gets no token" in text_of(await browser.get("/workers/press-01"))
    await browser.post("/workers/press-01/enable")

    page = text_of(await browser.get("/workers/press-01"))

    assert re.findall(r"(renamed|disabled|enabled|labelled|created) admin", page) == [
        "enabled",
        "disabled",
        "labelled",
        "renamed",
        "created",
    ]
    record = server.services.directory.find_worker("press-01")
    assert (record.name, record.labels, record.enabled) == ("The press", {"gpu": ""}, True)
    asked = text_of(await browser.get("/workers/press-01/delete"))
    assert "The entry is gone, with its ID" in asked
    deleted = await browser.post("/workers/press-01/delete")
    assert "The press was deleted." in text_of(await browser.get(deleted.headers["location"]))
    assert (await browser.get("/workers/press-01")).status_code == 404


async def test_labels_can_be_removed(server, browser, press):
    """An emptied field means no labels, not the previous ones."""
    await browser.post("/workers/press-01", name="press-01", labels="gpu")
    await browser.post("/workers/press-01", name="press-01", labels="")
    assert server.services.directory.find_worker("press-01").labels == {}


async def test_a_key_is_issued_rotated_allowed_and_revoked(server, browser, press):
    """It is shown once each time; the revoke page first says how many Workers it will disconnect."""
    await browser.post("/add-worker", name="press-02", id="press-02", **{"with": "own"})
    form = {"name": "press-keys", "for": "chosen", "workers": "press-01, press-01", "life": "30d"}
    issued = await browser.post("/issue-api-key", **form)
    pattern = r"lyftdata_[0-9A-Za-z]{10}_[0-9A-Za-z]{38}"
    first = get_match(pattern, issued)
    assert (await server.token_by_key("press-02", first)).status_code == 401
    await browser.post("/api-keys/press-keys/allow", worker="press-02")
    assert (await server.token_by_key("press-02", first)).status_code == 200

    rotate = "/api-keys/press-keys/rotate"
    rotated = await browser.post_shown(rotate, rotate, grace="0s")

    second = get_match(pattern, rotated)
    assert (await server.token_by_key("press-02", first)).status_code == 401
    assert (await server.token_by_key("press-02", second)).status_code == 200
    assert "No Worker is connected with it now" in text_of(await browser.get("/api-keys/press-keys/revoke"))
    await browser.post("/api-keys/press-keys/revoke")
    assert (await server.token_by_key("press-02", second)).status_code == 401
    again = await browser.post_shown(rotate, rotate, grace="0s")
    assert (again.status_code, "was revoked" in text_of(again)) == (409, True)


@pytest.mark.parametrize(
    "form",
    [
        {"name": "abcd", "for": "all"},
        {"name": "some-keys", "for": "chosen", "workers": ""},
        {"name": "some-keys", "for": "chosen", "workers": "nobody"},
        {"name": "some-keys", "for": "all", "life": "3000y"},
        {"name": "press-keys", "for": "all"},
        {"name": "some-keys"},
        {"name": "some-keys", "for": "everybody"},
    ],
)
async def test_a_key_that_cannot_be_issued_is_not_issued_for_all(server, browser, press, form):
    """The form is shown again; a missing choice is never read as *every Worker*."""
    await browser.post("/issue-api-key", name="press-keys", **{"for": "all"})
    before = await state_of(server)

    answer = await browser.post("/issue-api-key", **form)

    assert answer.status_code in {404, 409, 422}
    assert await state_of(server) == before


async def test_a_refusal_is_found_by_its_reference_and_remedied(server, browser, press):
    """The reference works in lower case; the button leads to the remedy, after which the same key works."""
    admin = await server.sign_in(password="xxx " + PASSWORD)
    await browser.post("/add-worker", name="press-02", id="press-02", **{"with": "own"})
    body = {"name": "press-keys", "worker_ids": ["press-01"]}
    key = (await server.http.post("/api/api-keys", json=body, headers=admin)).json()["key"]
    reference = (await server.token_by_key("press-02", key)).json()["reference"]

    found = await browser.get(f"/refusals?q={reference.lower()}")
    page = await browser.get(found.headers["location"])
    way = html.unescape(get_match(r'class="button" href="(/api-keys/[^"]+)"', page))
    assert way == "/api-keys/press-keys/allow?worker=press-02"
    await browser.post(way.partition("?")[0], worker="press-02")

    assert (await server.token_by_key("press-02", key)).status_code == 200


@pytest.mark.parametrize(
    ("claimed", "button"),
    [
        ("press-99", "/add-worker?id=press-99"),
        ("press 99", None),
        ("../../x", None),
        ("x?id=press-01&name=y", None),
        (HOSTILE, None),
    ],
)
async def test_a_link_is_never_made_from_an_unknown_callers_text(server, browser, press, claimed, button):
    """Only a valid ID becomes a link; anything else is text."""
    admin = await server.sign_in(password="xxx " + PASSWORD)
    key = (await server.http.post("/api/api-keys", json={"name": "all-keys"}, headers=admin)).json()["key"]
    reference = (await server.token_by_key(claimed, key)).json()["reference"]

    page = await browser.get(f"/refusals/{reference}")

    links = [html.unescape(link) for link in re.findall(r'href="(/add-worker[^"]*)"', page.text)]
    assert links == ([button] if button else [])
    assert "<script>alert" not in page.text


async def test_an_unknown_caller_cannot_choose_the_key_that_a_refusal_names(server, browser, press):
    """The key that *allow* offers comes from a field of the Server's, not from text that looks like its sentence."""
    claimed = "API key 'evil-keys'"
    reference = (await server.token_by_key(claimed, press[1])).json()["reference"]

    page = await browser.get(f"/refusals/{reference}")

    assert "/api-keys/evil-keys" not in page.text


async def test_a_disabled_worker_is_enabled_from_its_refusal(server, browser, press):
    """The button leads to a page that says who disabled it, and that page enables it."""
    await browser.post("/workers/press-01/disable")
    reference = (await server.token_by_key(*press)).json()["reference"]
    page = await browser.get(f"/refusals/{reference}")
    assert 'href="/workers/press-01/enable"' in page.text
    assert 'action="/workers/press-01/enable"' not in page.text
    asked = text_of(await browser.get("/workers/press-01/enable"))
    assert "An operator has disabled it : admin, just now" in asked

    await browser.post("/workers/press-01/enable")

    assert (await server.token_by_key(*press)).status_code == 200


async def test_a_viewer_is_offered_nothing_that_they_may_not_do(server, browser, viewer, press):
    """The same pages, without any form that changes something and without any link that leads to 403."""
    reference = (await server.token_by_key("press-01", "nonsense")).json()["reference"]
    await browser.post("/issue-api-key", name="press-keys", **{"for": "all"})
    for path in (
        "/",
        "/workers",
        "/workers/press-01",
        "/api-keys",
        "/api-keys/press-keys",
        f"/refusals/{reference}",
        "/operators",
        "/enrollment",
        "/audit",
    ):
        page = await viewer.get(path)
        assert page.status_code == 200
        ways = set(re.findall(r'(?:href|action)="([^"?]*)', page.text))
        for way in ways:
            if way.startswith("/") and not way.startswith("/static"):
                assert (await viewer.get(way)).status_code != 403, (path, way)


async def test_operators_are_added_changed_reset_and_deleted(server, browser):
    """A first password is shown once and opens only the page that changes it; the last admin cannot be deleted or demoted."""
    added = await browser.post("/operators", name="ada", role="viewer", scope="")
    password = get_match(r'data-copy="([^"]+)"', added)
    ada = Browser(server.from_address("192.0.2.60"))
    assert (await ada.sign_in("ada", password)).status_code == 303
    assert (await ada.get("/")).headers["location"] == "/account/password"
    await browser.post("/operators/ada/role", role="admin")
    reset = await browser.post_shown("/operators/ada/reset", "/operators/ada/reset")
    assert (await ada.get("/")).headers["location"] == "/login"
    again = get_match(r'data-copy="([^"]+)"', reset)
    assert (await ada.sign_in("ada", again)).status_code == 303
    assert (await browser.post("/operators/ada/delete")).headers["location"] == "/operators"
    for path, form in (("/operators/admin/delete", {}), ("/operators/admin/role", {"role": "viewer"})):
        last = await browser.post(path, **form)
        assert (last.status_code, "last admin" in text_of(last)) == (409, True)
    assert (await browser.post("/operators", name="ada", role="king")).status_code == 422


async def test_an_operators_scope_can_be_set_changed_and_removed(server, browser):
    """The list shows it, and a form that was shown with another scope changes nothing."""
    await browser.post("/operators", name="ada", role="admin", scope="team=etl")
    assert "team=etl" in (await browser.get("/operators")).text
    seen = get_match(r'name="seen" value="([^"]+)"', await browser.get("/operators/ada/scope"))
    wider = await browser.post("/operators/ada/scope", scope="team=etl,zone=eu", seen=seen)
    assert wider.headers["location"] == "/operators"
    assert (await server.services.operators.get("ada")).scope == {"team": "etl", "zone": "eu"}
    stale = await browser.post("/operators/ada/scope", scope="", seen=seen)
    assert (stale.status_code, 'value=""' in stale.text) == (409, True)
    # Fail-open: only an empty field means no limit; a comma does not.
    for typed in ("a=b=c d", ",", " , "):
        assert (await browser.post("/operators/ada/scope", scope=typed)).status_code == 422
        assert (await browser.post("/operators", name="bob", role="admin", scope=typed)).status_code == 422
    assert (await browser.post("/operators", name="bob", role="admin")).status_code == 422
    last = await browser.post("/operators/admin/scope", scope="team=etl")
    assert (last.status_code, "last admin" in text_of(last)) == (409, True)
    await browser.post("/operators/ada/scope", scope="")
    assert (await server.services.operators.get("ada")).scope is None


async def test_operators_end_their_own_sessions_and_admins_any(server, browser, viewer):
    """A viewer cannot end another operator's session."""
    admin = await server.sign_in(password="xxx " + PASSWORD)
    sessions = (await server.http.get("/api/admin-sessions", headers=admin)).json()["items"]
    veras = [s["id"] for s in sessions if s["operator"] == "vera"]
    admins = next(s["id"] for s in sessions if s["operator"] == "admin")

    assert (await viewer.post(f"/account/sessions/{admins}/end")).status_code == 404
    for session_id in veras:
        ended = await browser.post(f"/account/sessions/{session_id}/end", from_operators="yes")
        assert ended.headers["location"] == "/operators"
    assert (await viewer.get("/")).headers["location"] == "/login"
    assert (await browser.post("/account/sign-out-everywhere")).headers["location"] == "/login"
    assert (await browser.get("/")).headers["location"] == "/login"


async def test_the_audit_log_is_exported_and_verified(server, browser, press):
    """It downloads as JSON lines and CSV; the mark says whether the hash chain is intact or where it is broken."""
    lines = await browser.get("/audit/export")
    rows = await browser.get("/audit/export?format=csv")
    assert lines.text.count("\n") == await state_of(server)
    assert 'filename="lyftdata-audit-' in rows.headers["content-disposition"]
    assert "The chain is intact" in (await browser.get("/audit/verified")).text
    from sqlalchemy import text

    await server.services.store.write(
        lambda tx: tx.conn.execute(text("update audit_events set actor = 'eve' where number = 2"))
    )
    broken = text_of(await browser.get("/audit/verified"))
    assert "The chain is broken at event 2" in broken


async def test_issued_enrollment_keys_are_listed_with_their_rules(server, browser):
    """With name, state, uses and restrictions; Workers that used one are not listed under a secret that is no longer accepted."""
    rules = EnrollmentKeyRules(max_uses=1, worker_name="etl-*", networks=["127.0.0.0/8"])
    issued = await server.services.enrollment_keys.issue("etl-hosts", rules, actor=ACTOR)
    key, identity = issued.text.reveal(), generate_identity_key()
    proof = server.proof(identity, "etl-1", secret=key)
    assert (await server.register(identity, "etl-1", credential=proof)).status_code == 201

    page = await browser.get("/enrollment")

    for shown in ("etl-hosts", "used up", "1 of 1", "etl-*", "from 127.0.0.0/8", "1 Worker"):
        assert shown in text_of(page), shown
    assert "no longer accepted" not in page.text
    assert key[27:] not in page.text


async def test_the_enrollment_page_never_shows_the_secret(server, browser):
    """It shows fingerprints and counts."""
    from tests.builders import ENROLLMENT_KEY

    await server.enrolled("scaler")
    page = await browser.get("/enrollment")
    assert "1 Worker" in text_of(page)
    assert ENROLLMENT_KEY not in page.text
    assert "anyone with network access to the Server can add new Workers" in text_of(page)


async def test_the_enrollment_page_says_how_to_turn_enrollment_on(opened):
    """It is off by default, and the page names the missing setting."""
    async with opened(LYFTDATA_AUTO_ENROLLMENT_KEY="") as server:
        browser = Browser(server.http)
        await browser.sign_in("admin", PASSWORD)
        await browser.learn_token()
        await browser.post(
            "/account/password", current=PASSWORD, new="xxx " + PASSWORD, again="xxx " + PASSWORD
        )
        page = text_of(await browser.get("/enrollment"))
    assert "off The Server was started without LYFTDATA_AUTO_ENROLLMENT_KEY" in page


async def test_hostile_text_stays_text(server, browser, press, unhurried, subtests):
    """A name, a claimed ID, a browser's User-Agent: text written by outsiders is shown and never executed."""
    await browser.post("/workers/press-01", name=HOSTILE, labels="")
    await server.enrolled(HOSTILE + "2")
    await server.token_by_key(HOSTILE, press[1])
    async with server.from_address("192.0.2.66") as unknown_caller:
        headers = {"Sec-Fetch-Site": "same-origin", "User-Agent": HOSTILE}
        await unknown_caller.post(
            "/login", data={"username": "admin", "password": "xxx " + PASSWORD}, headers=headers
        )

    for entry in GETS:
        if entry.path == "/events":
            continue

        page = await browser.get(fill(entry.path))

        with subtests.test(name_of(entry)):
            is_file = page.headers.get("content-disposition", "").startswith("attachment;")
            assert is_file or "<script>alert" not in page.text


# --- findings of a security review -----------------------------------------------------------------------


async def test_labels_added_concurrently_are_all_kept(server, browser, press):
    """Four concurrent posts with one label each lose none."""
    posts = [browser.post("/workers", action="label", id="press-01", labels=f"l{n}={n}") for n in range(4)]
    await asyncio.gather(*posts)
    assert server.services.directory.find_worker("press-01").labels == {f"l{n}": str(n) for n in range(4)}


async def test_a_bulk_change_is_all_or_nothing(server, browser, press):
    """One Worker that would have too many labels stops the whole change, and the page names it."""
    await browser.post("/add-worker", name="w-2", id="w-2", labels=",".join(f"k{n}" for n in range(32)))
    before = await state_of(server)

    answer = await browser.post("/workers", action="label", id=["press-01", "w-2"], labels="gpu")

    assert (answer.status_code, "&#39;w-2&#39; would have more" in answer.text) == (422, True)
    assert server.services.directory.find_worker("press-01").labels == {}
    assert await state_of(server) == before


async def test_a_stale_page_does_not_restore_old_labels(server, browser, press):
    """Fields that were not edited are not sent, even if their values have changed since."""
    await browser.post("/workers/press-01", name="press-01", labels="trust=low")
    old = seen(await browser.get("/workers/press-01"))
    await browser.post("/workers/press-01", name="press-01", labels="trust=none,quarantine")

    await browser.post("/workers/press-01", name="The press", labels="trust=low", seen=old)

    record = server.services.directory.find_worker("press-01")
    assert (record.name, record.labels) == ("The press", {"trust": "none", "quarantine": ""})


async def test_only_a_refusal_with_a_proven_key_offers_to_enable_the_worker(server, browser, press):
    """Junk sent in a disabled Worker's name gets no button that would let it in."""
    await browser.post("/workers/press-01/disable")
    junk = (await server.token_by_key("press-01", "nonsense")).json()["reference"]
    proved = (await server.token_by_key(*press)).json()["reference"]
    assert "Enable press-01" not in (await browser.get(f"/refusals/{junk}")).text
    assert "Enable press-01" in (await browser.get(f"/refusals/{proved}")).text


async def test_made_up_names_do_not_displace_real_workers_on_the_overview(server, browser, press):
    """However many names one address makes up, it gets one line, without any of its text."""
    for _ in range(3):
        await server.token_by_key("press-01", "nonsense")
    async with server.from_address("203.0.113.9") as unknown_caller:
        for name in ("Your licence ends today", "x2", "x3", "x4", "x5", "x6"):
            form = {"grant_type": "client_credentials", "client_id": name, "client_secret": "nonsense"}
            for _ in range(3):
                await unknown_caller.post("/oauth2/token", data=form)

    page = text_of(await browser.get("/"))

    assert "press-01 at 127.0.0.1 was refused 3 times" in page
    assert re.search(r"203\.0\.113\.9 was refused \d+ times, as an unknown Worker", page)
    assert "licence" not in page


async def test_the_waiting_page_shows_only_refusals_of_its_worker(server, browser, press):
    """Claims that merely start with its ID do not displace its refusal."""
    reference = (await server.token_by_key("press-01", "nonsense")).json()["reference"]
    for n in range(25):
        async with server.from_address(f"203.0.113.{n}") as unknown_caller:
            form = {"grant_type": "client_credentials", "client_id": f"press-01-{n}", "client_secret": "x"}
            await unknown_caller.post("/oauth2/token", data=form)

    assert reference in (await browser.get("/workers/press-01/waiting")).text


async def test_refusals_are_shown_before_they_are_written(server, browser, press, monkeypatch):
    """During a flood a reader does not wait for the writer: the refusal is found by reference and counted in the list."""
    await server.token_by_key("press-01", "nonsense")
    await server.services.refusals.flush()

    async def never(_op):
        await asyncio.Event().wait()

    monkeypatch.setattr(server.services.store, "write", never)
    reference = (await server.token_by_key("press-01", "nonsense")).json()["reference"]
    flushing = asyncio.create_task(server.services.refusals.flush())
    await asyncio.sleep(0)

    assert (await browser.get(f"/refusals/{reference}")).status_code == 200
    assert "2 times" in text_of(await browser.get("/refusals"))
    flushing.cancel()


async def test_exports_are_limited_per_operator_and_end_with_the_session(server, browser):
    """Each one keeps part of the log in memory for as long as its reader takes."""
    admin = await server.sign_in(password="xxx " + PASSWORD)
    session = (await server.http.get("/api/admin-sessions", headers=admin)).json()["items"][0]
    actor = Actor(operator="admin", role=Role.ADMIN, session_id=session["id"], address="192.0.2.1")
    running = [await server.services.audit_export.respond(ExportForm.CSV, actor) for _ in range(2)]

    assert (await browser.get("/audit/export")).status_code == 409
    await server.http.post("/api/logout-everywhere", headers=admin)
    assert len([rows async for rows in running[0].body_iterator]) == 1


@pytest.mark.parametrize("what", ["rotate", "reset", "resource"])
async def test_a_resent_form_makes_no_second_secret(server, browser, press, what):
    """After a reload the page says that it was already done, and the secret that was shown first is still valid."""
    await browser.post("/operators", name="ada", role="viewer", scope="")
    await browser.post("/add-resource", name="broker", audience="https://broker.example")
    await browser.post("/issue-api-key", name="press-keys", **{"for": "all"})
    page, path, fields = {
        "rotate": ("/api-keys/press-keys/rotate", "/api-keys/press-keys/rotate", {"grace": "0s"}),
        "reset": ("/operators/ada/reset", "/operators/ada/reset", {}),
        "resource": ("/resources/broker", "/resources/broker/key", {}),
    }[what]
    before = get_match(r'name="before" value="([0-9a-f]{64})"', await browser.get(page))
    secret = get_match(r'data-copy="([^"]+)"', await browser.post(path, before=before, **fields))

    again = await browser.post(path, before=before, **fields)

    assert (again.status_code, "was done already" in text_of(again)) == (409, True)
    match what:
        case "rotate":
            assert (await server.token_by_key(press[0], secret)).status_code == 200
        case "reset":
            assert (
                await Browser(server.from_address("192.0.2.60")).sign_in("ada", secret)
            ).status_code == 303
        case "resource":
            asked = {"client_id": "broker", "client_secret": secret, "token": "x"}
            assert (await server.http.post("/oauth2/introspect", data=asked)).json() == {"active": False}
    once_more = get_match(r'name="before" value="([0-9a-f]{64})"', again)
    assert (await browser.post(path, before=once_more, **fields)).status_code == 200


async def test_a_resent_form_adds_nothing_twice(server, browser):
    """*Add Worker*, *Issue* and *Add* of an operator then say that the name is taken, and show no secret."""
    for path, form in (
        ("/add-worker", {"name": "press-02", "with": "own"}),
        ("/issue-api-key", {"name": "press-keys", "for": "all"}),
        ("/operators", {"name": "ada", "role": "viewer", "scope": ""}),
    ):
        assert "Shown once" in (await browser.post(path, **form)).text
        again = await browser.post(path, **form)
        assert (again.status_code, "Shown once" in again.text) == (409, False), path
    assert len(list(server.services.directory.api_keys())) == 2


async def test_the_list_of_sessions_is_paged_and_an_admin_ends_all_of_one_operator(server, browser, viewer):
    """Every session is on one of the pages; ending an operator's sessions ends no one else's."""
    for _ in range(30):
        await server.sign_in("vera", "zzz " + PASSWORD)
    first, second = [await browser.get(f"/operators?page={number}") for number in (1, 2)]
    ends = r'action="/account/sessions/([^"/]+)/end"'
    assert "Page 1 of 2" in text_of(first)
    assert len({*re.findall(ends, first.text), *re.findall(ends, second.text)}) == len(
        await server.services.operator_sessions.list(None)
    )
    assert (await viewer.post("/operators/admin/end-sessions")).status_code == 403
    assert "this one too" not in (await browser.get("/operators/vera/end-sessions")).text

    ended = await browser.post("/operators/vera/end-sessions")

    assert ended.headers["location"] == "/operators"
    assert await server.services.operator_sessions.list("vera") == []
    assert (await browser.get("/operators")).status_code == 200
    mine = await browser.post("/operators/admin/end-sessions")
    assert mine.headers["location"] == "/login"
    assert (await browser.post("/operators/nobody/end-sessions")).status_code == 303


async def test_a_resource_is_defined_changed_and_deleted(server, browser, press):
    """Its Workers get tokens for it from then on; its key is shown once."""
    form = {"name": "broker", "audience": "https://broker.example", "scopes": "read, write"}
    made = await browser.post("/add-resource", **form, labels="gpu zone=eu-1")
    assert made.headers["location"] == "/resources/broker"
    asked = {"resource": "https://broker.example", "scope": "write"}
    assert (await server.token_by_key(*press, **asked)).status_code == 400
    await browser.post("/workers/press-01", name="press-01", labels="gpu")
    assert (await server.token_by_key(*press, **asked)).status_code == 200
    await browser.post("/resources/broker", **form, worker_names="other\nthe press")
    assert (await server.token_by_key(*press, **asked)).status_code == 400
    shown = await browser.post_shown("/resources/broker", "/resources/broker/key")
    key = get_match(r"lyftdata_[0-9A-Za-z]{10}_[0-9A-Za-z]{38}", shown)
    page = await browser.get("/resources/broker")
    assert (key[20:] not in page.text, "the press" in page.text) == (True, True)
    again = await browser.post("/resources/broker", **(form | {"audience": "no url"}))
    assert (again.status_code, "must be an absolute URI" in text_of(again)) == (422, True)
    assert (await browser.post("/resources/broker/delete")).headers["location"] == "/resources"
    assert (await browser.get("/resources/broker")).status_code == 404


async def test_a_resource_with_the_most_selectors_can_be_saved_by_its_form(server, browser):
    """The form accepts as many selectors as the API does."""
    headers = await server.sign_in(password="xxx " + PASSWORD)
    names = ["\U0001f600" * 60 + f"{number:04}" for number in range(150)]
    ids = [f"{number:04}".ljust(64, "x") for number in range(160)]
    body = {"name": "wide", "audience": "https://wide.example", "worker_names": names, "worker_ids": ids}
    assert (await server.http.post("/api/resources", json=body, headers=headers)).status_code == 201

    form = {
        "audience": "https://wider.example",
        "worker_ids": " ".join(ids),
        "worker_names": "\r\n".join(names),
    }
    saved = await browser.post("/resources/wide", **form)

    assert saved.status_code == 303, saved.text
    (stored,) = (await server.http.get("/api/resources", headers=headers)).json()["items"]
    assert (stored["audience"], stored["worker_names"]) == ("https://wider.example", sorted(names))
    more = body | {"worker_ids": [f"{number:04}".ljust(64, "x") for number in range(200)]}
    refused = await server.http.patch(
        "/api/resources/wide", json={"worker_ids": more["worker_ids"]}, headers=headers
    )
    assert refused.status_code == 422
    assert "choose many Workers by a label" in refused.json()["detail"]


# --- the notice of what was done is shown once, and only if this Server wrote it --------------------------


def notices(answer):
    """Return a page's notices of what was just done."""
    return re.findall(r'<p class="notice good" data-say="news">([^<]*)</p>', answer.text)


async def test_a_notice_is_shown_once(browser, press):
    """On the page that follows the form; not after a reload, and not on another page in the meantime."""
    done = await browser.post("/workers/press-01/disable")
    assert "done" not in done.headers["location"]

    assert notices(await browser.get("/workers")) == []
    assert notices(await browser.get("/workers/press-01", headers={"HX-Request": "true"})) == []
    assert notices(await browser.get("/workers/press-01")) == [
        "Disabled. Its session ended and its tokens are void."
    ]
    assert notices(await browser.get("/workers/press-01")) == []


async def test_no_url_can_cause_a_notice(browser, press):
    """A crafted link, bookmark or parameter shows nothing."""
    for path in ("/", "/workers/press-01", "/api-keys", "/operators", "/account", "/resources"):
        for query in ("done=disabled", "done=revoked", "flash=Disabled.", "done=Disabled."):
            assert notices(await browser.get(f"{path}?{query}")) == [], path


async def test_a_notice_is_bound_to_its_session(server, browser, viewer, press):
    """The cookie is signed for its session and its page, and expires after a minute."""
    done = await browser.post("/workers/press-01/disable")
    (cookie,) = [c.partition(";")[0] for c in done.headers.get_list("set-cookie") if "_flash=" in c]
    own = f"__Host-lyftdata={browser.http.cookies['__Host-lyftdata']}"
    veras = f"__Host-lyftdata={viewer.http.cookies['__Host-lyftdata']}"
    forged = [
        cookie[:-1] + ("0" if cookie[-1] != "0" else "1"),
        cookie.partition(".")[0],
        "__Host-lyftdata_flash=x.y",
    ]

    async def notice_with(*cookies):
        return notices(await server.http.get("/workers/press-01", headers={"Cookie": "; ".join(cookies)}))

    assert await notice_with(veras, cookie) == []
    assert [await notice_with(own, text) for text in forged] == [[], [], []]
    assert len(await notice_with(own, cookie)) == 1
    server.clock.forward(seconds=61)
    assert await notice_with(own, cookie) == []


async def test_a_form_with_an_error_keeps_the_filter_the_selection_and_the_text(browser, press):
    """A typing error in the labels loses nothing that was ticked or typed."""
    form = {"id": "press-01", "labels": "a b=c", "q": "press status:never_connected"}

    again = await browser.post("/workers?action=label", **form)

    assert again.status_code == 422
    assert re.search(r'value="press-01" id="tick-press-01"[^>]* checked', again.text)
    assert 'name="labels" value="a b=c"' in again.text
    assert '<input type="hidden" name="q" value="press status:never_connected">' in again.text
    instead = html.unescape(get_match(r'data-instead="([^"]+)"', again))
    assert instead == "/workers?q=press+status%3Anever_connected&labels=a+b%3Dc&id=press-01"
    shown = await browser.get(instead)
    assert re.search(r'value="press-01" id="tick-press-01"[^>]* checked', shown.text)


@pytest.mark.parametrize(
    ("path", "title"),
    [
        ("/workers/press-01/disable", "Disable press-01"),
        ("/workers/press-01/delete", "Delete press-01"),
        ("/change-workers?action=disable&id=press-01", "Disable 1 Worker"),
        ("/change-workers?action=disable&id=press-99", "Disable"),
        ("/incident", "Incident"),
        ("/incident?subject=press-01", "Incident: press-01"),
        ("/incident/cut-off?subject=press-01&since=&whom=all&action=disable", "Cut off: press-01"),
    ],
)
async def test_the_title_of_a_page_names_what_it_is_about(browser, press, path, title):
    """So that tabs, bookmarks and the browser's history can be distinguished."""
    page = await browser.get(path)

    assert f"<title>{title} · lyftdata</title>" in page.text
