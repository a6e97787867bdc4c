"""Whether the fleet is complete, as shown to operators: from entries, sessions and how they ended."""

from datetime import timedelta

import pytest
from tests.fleets import add_past, connect

from lyftdata.core.fleet_verdict import Level, Presence
from lyftdata.core.scopes import UNLIMITED
from lyftdata.core.worker_query import search_terms


async def connected(server, worker_id, key):
    """Connect a Worker; return the headers of its token."""
    answer = await server.token_by_key(worker_id, key)
    headers = {"Authorization": f"Bearer {answer.json()['access_token']}"}
    body = {"boot_id": "boot-0001"}
    await server.http.post("/api/worker/session", json=body, headers=headers)
    return headers


async def lose(server, worker_id):
    """End the session of a Worker as when its connection is lost and it does not return."""
    server.services.sessions._expire(server.services.sessions.find_here(worker_id))


async def fleet(server, admin):
    """Return the fleet as the API shows it."""
    answer = await server.http.get("/api/fleet", headers=admin)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def listed(server, admin, presence):
    """Return the IDs of the Workers with this presence."""
    answer = await server.http.get("/api/workers", params={"presence": presence}, headers=admin)
    return [worker["id"] for worker in answer.json()["items"]]


async def test_a_server_without_workers_expects_none(server, admin):
    """Nor does one whose Workers have never been connected."""
    assert (await fleet(server, admin))["level"] == "none"
    await server.http.post("/api/workers", json={"name": "press", "id": "press-01"}, headers=admin)
    found = await fleet(server, admin)
    assert (found["level"], found["expected"]) == ("none", 0)


async def test_a_worker_is_expected_for_seven_days_and_lost_for_an_hour(server, press):
    """While connected, nothing is missing; when its connection is lost it is *lost*, an hour later *away*, and after a week not expected any more."""
    await connected(server, *press)
    found = await fleet(server, await server.sign_in())
    assert (found["level"], found["title"]) == ("good", "The one Worker that is expected is connected")

    await lose(server, "press-01")
    server.clock.forward(minutes=3, seconds=30)
    admin = await server.sign_in()
    found = await fleet(server, admin)
    assert (found["level"], found["title"]) == ("critical", "1 Worker went offline in the last 4 minutes")
    assert found["detail"].startswith("It did not sign off.")
    assert await listed(server, admin, "lost") == await listed(server, admin, "missing") == ["press-01"]

    server.clock.forward(hours=1)
    found = await fleet(server, admin)
    assert (found["level"], found["lost"], found["away"]) == ("warning", 0, 1)
    assert await listed(server, admin, "away") == ["press-01"]
    assert await listed(server, admin, "lost") == []

    server.clock.forward(days=7)
    assert (await fleet(server, await server.sign_in()))["expected"] == 0


async def test_a_worker_that_signs_off_is_not_lost(server, admin, press):
    """It announced that it leaves."""
    headers = await connected(server, *press)
    off = {"boot_id": "boot-0001", "sign_off": True}
    await server.http.post("/api/worker/session", json=off, headers=headers)

    found = await fleet(server, admin)
    assert (found["lost"], found["away"], found["level"]) == (0, 1, "warning")


async def test_a_worker_whose_key_was_revoked_is_shown_as_disconnected_by_the_server(server, admin, press):
    """It is missing, since its entry is in good standing; but its connection was not lost."""
    await connected(server, *press)
    keys = (await server.http.get("/api/api-keys", headers=admin)).json()["items"]
    revoked = await server.http.post(f"/api/api-keys/{keys[0]['name']}/revoke", headers=admin)
    assert revoked.status_code == 200, revoked.text

    found = await fleet(server, admin)

    assert found["lost"] == 1
    assert found["detail"] == "The Server disconnected it: see Refusals."


@pytest.mark.parametrize(
    "change", [{"enabled": False}, {"labels": {"always": "no"}}], ids=["disabled", "labelled"]
)
async def test_an_operator_can_exclude_a_worker_from_the_expected_ones(server, admin, press, change):
    """By disabling it, or with the label for Workers that come and go."""
    await connected(server, *press)
    await lose(server, "press-01")
    assert (await fleet(server, admin))["lost"] == 1
    await server.http.patch("/api/workers/press-01", json=change, headers=admin)
    assert (await fleet(server, admin))["expected"] == 0


async def test_an_unknown_presence_is_an_error(server, admin):
    """A mistyped filter must not list everything."""
    answer = await server.http.get("/api/workers", params={"presence": "gone"}, headers=admin)
    assert answer.status_code == 422


@pytest.mark.usefixtures("unhurried")
async def test_an_outage_is_described_in_one_sentence(opened):
    """312 of 3,000 Workers: how many, since when, and what they have in common; the list has exactly these."""
    lost = range(2_688, 3_000)
    async with opened() as server:
        now = server.clock()
        headers = await server.sign_in()
        await server.http.post("/api/api-keys", json={"name": "press-keys"}, headers=headers)
        await server.services.store.write(lambda tx: add_past(tx, range(3_000), lost=lost, now=now))
        clock = server.clock
    async with opened(clock) as server:
        [key] = server.services.directory.api_keys()
        connect(server.services.sessions, range(2_688), public_id=key.public_id, now=now)
        state = await server.services.fleet_queries.state()

        assert state.verdict.level is Level.CRITICAL
        assert (state.verdict.expected, state.verdict.online, state.verdict.lost) == (3_000, 2_688, 312)
        assert now - state.verdict.since < timedelta(minutes=4)
        shared = [(one.trait.kind, one.trait.value, one.count) for one in state.verdict.common]
        assert shared[0] == ("label", "zone=eu-9", 312)
        assert ("host", "eu9-rack", 312) in shared
        found = await server.services.worker_queries.find(
            search_terms(None, presence=Presence.LOST), scope=UNLIMITED
        )
        assert {worker.id for worker in found} == {f"f-{number:06}" for number in lost}
        shown = await server.services.fleet_queries.show()
        assert shown.title == "312 Workers went offline in the last 4 minutes"
        assert shown.detail.startswith("All have the label zone=eu-9 and ")
