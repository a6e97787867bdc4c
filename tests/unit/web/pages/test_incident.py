"""The pages of an incident: the report, one confirmation with numbers, and how far a cut-off has come."""

import html
import json

import pytest
from tests.fleets import worker_record
from tests.unit.web.conftest import the

from lyftdata.core.records import Strategy
from lyftdata.server.sessions.session import Boot
from lyftdata.store.tables import workers

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
    poll = {"boot_id": "boot-0001", "host": {"hostname": "rack-2.example"}}
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

    assert ("2 of 2 Workers are out." if out > 1 else "1 of 1 Worker is out.") in progress.text
    still_there = [] if "revoke" in targets or "press-02" in targets.get("id", "") else ["press-02"]
    assert server.services.sessions.online_ids() == still_there


async def test_a_ticked_worker_that_was_deleted_meanwhile_does_not_keep_the_others_in(
    browser, server, leaked, admin
):
    """The page was loaded before; the API, which programs call, rejects an ID that does not exist."""
    await server.http.delete("/api/workers/press-01", headers=admin)

    given = INCIDENT | {"action": "disable", "whom": "chosen", "id": ["press-01", "press-02"]}
    done = await browser.post("/incident/cut-off", **given)

    assert "1 of 1 Worker is out." in (await browser.get(done.headers["location"])).text
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


async def test_a_name_that_only_a_host_has_finds_that_host(browser, server, leaked):
    """An operator who reads the name of a host in a list need not know that `host:` belongs before it; a key of that name comes first."""
    found = await browser.post("/incident", subject="rack-2.example", since="")

    assert found.headers["location"] == "/incident?subject=host%3Arack-2.example&since="
    assert (await browser.post("/incident", subject="rack-3.example", since="")).status_code == 404
    key = await browser.post("/incident", subject="press-keys", since="")
    assert key.headers["location"] == "/incident?subject=api-key%3Apress-keys&since="


async def test_a_name_that_nothing_has_is_said_where_it_was_typed(browser):
    """The form is shown again."""
    page = await browser.post("/incident", subject="there-is-none", since="")

    assert page.status_code == 404
    assert "There is no incident subject" in html.unescape(page.text)


@pytest.mark.parametrize(
    ("path", "button", "subject"),
    [
        ("/api-keys/press-keys", "This key leaked…", "api-key%3Apress-keys"),
        ("/enrollment", "This secret leaked…", "enrollment-key%3Astartup"),
        ("/enrollment/etl-hosts", "This secret leaked…", "enrollment-key%3Aetl-hosts"),
        ("/workers/press-01", "This host was taken over…", "worker%3Apress-01"),
        ("/workers/press-02", "This host was taken over…", "host%3Arack-2.example"),
    ],
)
async def test_each_page_leads_to_the_incident_of_what_it_shows(
    browser, viewer, server, leaked, admin, path, button, subject
):
    """For those who may cut off; others are not offered it, and cannot post it."""
    await server.http.post("/api/enrollment/keys", json={"name": "etl-hosts"}, headers=admin)
    link = f'href="/incident?subject={subject}">{button}</a>'

    assert link in (await browser.get(path)).text
    assert button not in (await viewer.get(path)).text
    report = await viewer.get(f"/incident?subject={subject}")
    assert report.status_code == 200
    assert "Cut off…" not in report.text
    refused = await viewer.post("/incident/cut-off", **INCIDENT, whom="all", action="disable")
    assert refused.status_code == 403


async def test_a_leaked_api_key_is_revoked_alone_unless_more_is_chosen(browser, server, leaked):
    """Its Workers need no enabling then: they come back with another key, and the page shows that they do."""
    report = (await browser.get("/incident", params=INCIDENT)).text
    assert '<input type="radio" name="whom" value="none" checked>' in report
    asked = await browser.get(
        "/incident/cut-off", params=INCIDENT | {"whom": "none", "action": "disable", "revoke": "yes"}
    )
    assert "Revoke the key and cut off 1 Worker</button>" in asked.text
    assert "Issue another API key" in asked.text
    done = await browser.post("/incident/cut-off", **INCIDENT, whom="none", action="disable", revoke="yes")
    page = await browser.get(done.headers["location"])
    assert "0 of 1 Worker is back." in page.text
    assert 'href="/issue-api-key"' in page.text

    made = await browser.post("/issue-api-key", name="press-keys-2", **{"for": "all"}, life="")
    key = the(r"lyftdata_[0-9A-Za-z]{10}_[0-9A-Za-z]+", made)
    server.clock.forward(minutes=1)
    token = (await server.token_by_key("press-02", key)).json()["access_token"]
    poll, headers = {"boot_id": "boot-0001"}, {"Authorization": f"Bearer {token}"}
    await server.http.post("/api/worker/session", json=poll, headers=headers)
    page = await browser.get(done.headers["location"])

    assert "1 of 1 Worker is back: 1 with press-keys-2." in page.text
    assert "every 5s" not in page.text


async def test_those_that_stay_disabled_are_found_from_the_progress(browser, server, leaked):
    """In the list, where they can be enabled."""
    done = await browser.post("/incident/cut-off", **INCIDENT, whom="all", action="disable", revoke="yes")
    page = await browser.get(done.headers["location"])
    assert "2 Workers are disabled" in page.text

    listed = await browser.get(the(r'href="(/workers\?q=key[^"]+)"', page))

    assert "press-02" in listed.text


async def test_a_thousand_workers_are_cut_off_in_one_go(browser, server, admin):
    """The page stays small, and one event holds them all."""
    await server.http.post("/api/api-keys", json={"name": "fleet-key"}, headers=admin)
    (key,) = server.services.directory.api_keys()
    fleet = [worker_record(number, "w", Strategy.API_KEY) for number in range(1_000)]
    await server.services.store.write(lambda tx: workers.insert_fresh(tx, fleet))
    boot = Boot(boot_id="boot-0001", host={}, reported_labels={}, address="203.0.113.9")
    for worker in fleet:
        server.services.sessions.attach(worker, boot, f"key.{key.public_id}.0")
    given = {"subject": "api-key:fleet-key", "since": "", "whom": "all", "action": "disable", "revoke": "yes"}
    asked = await browser.get("/incident/cut-off", params=given)
    assert "Cut off 1,000 Workers</button>" in asked.text

    done = await browser.post("/incident/cut-off", **given)
    progress = await browser.get(done.headers["location"])

    assert "1,000 of 1,000 Workers are out." in progress.text
    assert server.services.sessions.online_ids() == []
    assert max(len(asked.content), len(progress.content)) < 50_000
    log = (await server.http.get("/api/audit", params={"limit": 1}, headers=admin)).json()["items"]
    assert log[0]["details"]["count"] == "1000"
