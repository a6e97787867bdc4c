"""The pages of an incident: the report, one confirmation with numbers, and the progress of a cut-off."""

import html
import json

import pytest
from tests.fleets import worker_record
from tests.unit.web.conftest import get_match

from lyftdata.core.records import Strategy
from lyftdata.server.sessions.session import Boot
from lyftdata.store.tables import workers

INCIDENT = {"subject": "press-keys", "since": "24h"}


@pytest.fixture
async def leaked(server, admin):
    """Return a key with which two Workers got tokens; one of them is connected."""
    key = (await server.http.post("/api/api-keys", json={"name": "press-keys"}, headers=admin)).json()["key"]
    headers: dict[str, str] = {}
    for worker_id in ("press-01", "press-02"):
        await server.http.post("/api/workers", json={"name": worker_id, "id": worker_id}, headers=admin)
        answer = await server.token_by_key(worker_id, key)
        headers = {"Authorization": f"Bearer {answer.json()['access_token']}"}
    poll = {"boot_id": "boot-0001", "host": {"hostname": "rack-2.example"}}
    await server.http.post("/api/worker/session", json=poll, headers=headers)
    return str(key)


async def test_a_pasted_key_is_never_in_a_url(browser, leaked):
    """It is found by its public ID, and the redirect has only its name."""
    found = await browser.post("/incident", subject=f"export KEY={leaked}", since="24h")

    assert (found.status_code, found.headers["location"]) == (
        303,
        "/incident?subject=api-key%3Apress-keys&since=24h",
    )


async def test_the_report_names_workers_tokens_and_what_is_not_recorded(browser, leaked):
    """It can also be exported."""
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
    assert get_match(r'<b class="n online">(\d+)</b> connected now', page) == "1"
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
    """For all, some or no Workers but the key; the progress then shows when the last one is disconnected."""
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


async def test_a_ticked_worker_that_was_deleted_does_not_stop_a_cut_off(browser, server, leaked, admin):
    """The page was loaded before. The API, which programs use, rejects an ID that does not exist."""
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
    """Neither the confirmation page nor the post accepts it."""
    before = server.services.store.audit_length
    asked = await browser.get("/incident/cut-off", params=INCIDENT | fields)
    done = await browser.post("/incident/cut-off", **INCIDENT, **fields)

    assert {asked.status_code, done.status_code} == {422}
    assert server.services.store.audit_length == before


async def test_a_hosts_name_finds_that_host(browser, server, leaked):
    """An operator who copies it from a list need not know the prefix `host:`; a key of the same name comes first."""
    found = await browser.post("/incident", subject="rack-2.example", since="")

    assert found.headers["location"] == "/incident?subject=host%3Arack-2.example&since="
    assert (await browser.post("/incident", subject="rack-3.example", since="")).status_code == 404
    key = await browser.post("/incident", subject="press-keys", since="")
    assert key.headers["location"] == "/incident?subject=api-key%3Apress-keys&since="


async def test_an_unknown_name_is_an_error_in_the_form(browser):
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
async def test_pages_link_to_the_incident_of_their_subject(
    browser, viewer, server, leaked, admin, path, button, subject
):
    """Only for operators who may cut off; others see no link and cannot post the form."""
    await server.http.post("/api/enrollment/keys", json={"name": "etl-hosts"}, headers=admin)
    link = f'href="/incident?subject={subject}">{button}</a>'

    assert link in (await browser.get(path)).text
    assert button not in (await viewer.get(path)).text
    report = await viewer.get(f"/incident?subject={subject}")
    assert report.status_code == 200
    assert "Cut off…" not in report.text
    refused = await viewer.post("/incident/cut-off", **INCIDENT, whom="all", action="disable")
    assert refused.status_code == 403


async def test_only_the_leaked_api_key_is_revoked_unless_more_is_chosen(browser, server, leaked):
    """Its Workers then need not be enabled: they return with another key, and the page counts them."""
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
    key = get_match(r"lyftdata_[0-9A-Za-z]{10}_[0-9A-Za-z]+", made)
    server.clock.forward(minutes=1)
    token = (await server.token_by_key("press-02", key)).json()["access_token"]
    poll, headers = {"boot_id": "boot-0001"}, {"Authorization": f"Bearer {token}"}
    await server.http.post("/api/worker/session", json=poll, headers=headers)
    page = await browser.get(done.headers["location"])

    assert "1 of 1 Worker is back: 1 with press-keys-2." in page.text
    assert "every 5s" not in page.text


async def test_the_progress_links_to_the_workers_that_stay_disabled(browser, server, leaked):
    """In the list, where they can be enabled."""
    done = await browser.post("/incident/cut-off", **INCIDENT, whom="all", action="disable", revoke="yes")
    page = await browser.get(done.headers["location"])
    assert "2 Workers are disabled" in page.text

    listed = await browser.get(get_match(r'href="(/workers\?q=key[^"]+)"', page))

    assert "press-02" in listed.text


async def test_a_thousand_workers_are_cut_off_at_once(browser, server, admin):
    """The page stays small, and one audit event covers them all."""
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
