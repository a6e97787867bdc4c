"""The pages of an incident: the report, one confirmation with numbers, and how far a cut-off has come."""

import html
import json

import pytest
from tests.unit.web.conftest import the

INCIDENT = {"subject": "press-keys", "since": "24h"}


@pytest.fixture
async def leaked(server, admin):
    """Return a key by which two Workers got tokens, one of whom is connected."""
    key = (await server.http.post("/api/api-keys", json={"name": "press-keys"}, headers=admin)).json()["key"]
    headers: dict[str, str] = {}
    for worker_id in ("press-01", "press-02"):
        await server.http.post("/api/workers", json={"name": worker_id, "id": worker_id}, headers=admin)
        answer = await server.token_by_key(worker_id, key)
        headers = {"Authorization": f"Bearer {answer.json()['access_token']}"}
    poll = {"boot_id": "boot-0001"}
    await server.http.post("/api/worker/session", json=poll, headers=headers)
    return str(key)


async def test_a_leaked_key_that_is_pasted_is_in_no_address(browser, leaked):
    """Its public ID finds it; the address that the browser goes to has its name."""
    found = await browser.post("/incident", subject=f"export KEY={leaked}", since="24h")

    assert (found.status_code, found.headers["location"]) == (
        303,
        "/incident?subject=api-key%3Apress-keys&since=24h",
    )


async def test_the_report_names_workers_tokens_and_what_is_not_recorded(browser, leaked):
    """And offers to cut off."""
    page = await browser.get("/incident", params=INCIDENT)

    for text in (
        "press-01",
        "press-02",
        "got tokens by it",
        "connected by it",
        "this Server",
        "Single tokens.",
        "<code>lyftdata refusals list</code>",
    ):
        assert text in html.unescape(page.text)
    assert the(r'<b class="n online">(\d+)</b> connected now', page) == "1"
    exported = await browser.get("/incident/export", params=INCIDENT)
    assert "attachment" in exported.headers["content-disposition"]
    assert json.loads(exported.text)["workers_total"] == 2


@pytest.mark.parametrize(
    ("targets", "title", "out"),
    [
        ({"whom": "all", "revoke": "yes"}, "Disable 2 Workers?", 2),
        ({"whom": "chosen", "id": "press-01"}, "Disable 1 Worker?", 1),
        ({"whom": "none", "revoke": "yes"}, "Revoke press-keys?", 1),
    ],
)
async def test_a_cut_off_is_confirmed_once_with_its_numbers(browser, server, leaked, targets, title, out):
    """All, some, or none but the key; then it is seen that the last one is out."""
    given = INCIDENT | {"action": "disable"} | targets
    asked = await browser.get("/incident/cut-off", params=given)
    assert title in asked.text
    assert ("press-keys is revoked" in asked.text) is ("revoke" in targets)
    assert server.services.sessions.online_ids() == ["press-02"]

    done = await browser.post("/incident/cut-off", **given)
    progress = await browser.get(done.headers["location"])

    assert (f"All {out} Workers out" if out > 1 else "All 1 Worker out") in progress.text
    still_there = [] if "revoke" in targets or "press-02" in targets.get("id", "") else ["press-02"]
    assert server.services.sessions.online_ids() == still_there


async def test_a_ticked_worker_that_was_deleted_meanwhile_does_not_keep_the_others_in(
    browser, server, leaked, admin
):
    """The page was loaded before; the API, which programs call, rejects an ID that does not exist."""
    await server.http.delete("/api/workers/press-01", headers=admin)

    given = INCIDENT | {"action": "disable", "whom": "chosen", "id": ["press-01", "press-02"]}
    done = await browser.post("/incident/cut-off", **given)

    assert "All 1 Worker out" in (await browser.get(done.headers["location"])).text
    assert server.services.sessions.online_ids() == []
    timeline = html.unescape((await browser.get("/workers/press-02")).text)
    assert "cut off in an incident" in timeline
    assert "api_key:press-keys, action disable" in timeline


@pytest.mark.parametrize(
    "fields",
    [
        {"whom": "everyone", "action": "disable"},
        {"whom": "all", "action": "explode"},
        {"whom": "chosen", "action": "disable"},
        {"whom": "", "action": "disable"},
    ],
)
async def test_a_form_that_does_not_say_whom_or_how_changes_nothing(browser, server, leaked, fields):
    """Neither asked nor confirmed."""
    before = server.services.store.audit_length
    asked = await browser.get("/incident/cut-off", params=INCIDENT | fields)
    done = await browser.post("/incident/cut-off", **INCIDENT, **fields)

    assert {asked.status_code, done.status_code} == {422}
    assert server.services.store.audit_length == before


async def test_a_name_that_nothing_has_is_said_where_it_was_typed(browser):
    """The form is shown again."""
    page = await browser.post("/incident", subject="there-is-none", since="")

    assert page.status_code == 404
    assert "There is no incident subject" in html.unescape(page.text)
