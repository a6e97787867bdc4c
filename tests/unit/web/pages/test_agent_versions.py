"""The page of agent versions: shares, the fleet policy, and who is affected before it is saved."""

import re
from datetime import timedelta

import pytest

from lyftdata.core.records import VersionCountRecord
from lyftdata.store.tables import version_counts

PATH = "/api/worker/session"
FIELDS = {"warn_below": "1.4", "refuse_below": "1.2", "from": "2027-03-01"}


@pytest.fixture
async def poll(server, press):
    """Return a function that polls as an agent of a given version."""
    token = (await server.token_by_key(*press)).json()["access_token"]

    async def poll(version, boot_id="boot-0001"):
        body = {"boot_id": boot_id, "host": {"agent_version": version, "hostname": "rack-7"}}
        return await server.http.post(PATH, json=body, headers={"Authorization": f"Bearer {token}"})

    return poll


def in_force(server):
    """Return the policy in force, or None."""
    policy = server.services.directory.fleet_policy
    return None if policy is None else policy.record


def query(**fields):
    """Return the URL of the page that asks for confirmation."""
    given = FIELDS | fields
    return "/agent-versions/policy?" + "&".join(f"{name}={value}" for name, value in given.items())


async def test_affected_workers_are_shown_before_a_policy_is_saved(server, browser, poll):
    """The form that showed them saves the policy, and another one removes it."""
    await poll("1.1.0")
    assert "agents of every version are accepted" in (await browser.get("/agent-versions")).text

    asked = (await browser.get(query())).text

    assert "Set this fleet policy?" in asked
    assert 'href="/workers/press-01"' in asked
    assert "refused later" in asked
    assert "1 Worker will be warned" in asked
    assert in_force(server) is None
    saved = await browser.post_shown(query(), "/agent-versions/policy", **FIELDS)
    assert saved.headers["location"] == "/agent-versions"
    record = in_force(server)
    assert (record.warn_below, record.refuse_below, record.refuse_from.year) == ("1.4", "1.2", 2027)
    shown = (await browser.get("/agent-versions")).text
    assert "1.1.0 · warned" in shown
    assert 'href="/workers?q=version%3A%3D1.1.0"' in shown
    await browser.post("/agent-versions/clear")
    assert in_force(server) is None


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"warn_below": "1.1"}, "Warn below must not be lower"),
        ({"refuse_below": "latest"}, "Refuse below must be a version"),
        ({"from": "soon"}, "From must be a date or a time"),
    ],
)
async def test_an_invalid_policy_is_shown_again(browser, wrong, sentence):
    """With the typed values and the error."""
    answer = await browser.get(query(**wrong))
    [typed] = wrong.values()
    assert answer.status_code == 422
    assert f'value="{typed}"' in answer.text
    assert 'aria-invalid="true"' in answer.text
    assert sentence in answer.text


async def test_a_stale_policy_form_changes_nothing(server, browser):
    """Another operator was faster, or the form was sent twice."""
    await browser.post_shown(query(), "/agent-versions/policy", **FIELDS)
    again = await browser.post("/agent-versions/policy", **FIELDS, before="")
    assert again.status_code == 409
    assert in_force(server).warn_below == "1.4"


async def test_a_repeatedly_refused_worker_is_named(browser, poll, server, admin):
    """With the number of its starts; also on the overview."""
    await server.http.put("/api/fleet/policy", json={"refuse_below": "1.2"}, headers=admin)
    for start in range(3):
        await poll("1.1.0", boot_id=f"boot-000{start}")
    shown = (await browser.get("/agent-versions")).text
    assert "Refused within the hour" in shown
    assert "<td>3</td><td>3</td><td>1</td>" in shown
    assert "Agent too old: press-01" in (await browser.get("/")).text


async def test_a_viewer_sees_the_versions_and_no_form(viewer):
    """A viewer who opens the form's page gets 403."""
    shown = (await viewer.get("/agent-versions")).text
    assert "Agent versions</h1>" in shown
    assert "Show who is affected" not in shown
    assert (await viewer.get(query())).status_code == 403


async def test_the_page_shows_how_the_versions_have_changed(server, browser, poll):
    """As a chart and a table, with the policy's changes; for a week, a quarter and a year."""
    assert "No data for this period yet." in (await browser.get("/agent-versions")).text
    yesterday = server.clock() - timedelta(hours=25)
    counts = [VersionCountRecord(yesterday, "1.1.0", 1)]
    await server.services.store.write(lambda tx: version_counts.add_counts(tx, yesterday, counts))
    await browser.post_shown(query(), "/agent-versions/policy", **FIELDS)
    await poll("1.4.0-<b>", "boot-0002")
    await server.services.version_histories.look()
    server.clock.forward(minutes=5)

    week = (await browser.get("/agent-versions")).text

    assert '<path class="layer current shade-0"' in week
    assert '<path class="layer warned shade-0"' in week
    assert "1 now \N{MIDDLE DOT} 1 at most \N{MIDDLE DOT} UTC" in week
    assert "warn below 1.4, refuse below 1.2" in week
    assert "<b>" not in week.partition("As a table")[2].partition("</table>")[0]
    assert re.search(
        r'<thead><tr><th scope="col">At</th><th scope="col">1.1.0</th><th scope="col">1.4.0-&lt;b&gt;</th></tr></thead>\s*'
        r'<tbody><tr><th scope="row">2026-03-01 12:00</th><td>0</td><td>1</td></tr>'
        r'<tr><th scope="row">2026-02-28 11:00</th><td>1</td><td>0</td></tr></tbody>',
        week,
    )
    for period in ("quarter", "year"):
        assert "layer warned" in (await browser.get(f"/agent-versions?period={period}")).text
    assert (await browser.get("/agent-versions?period=day")).status_code == 422
