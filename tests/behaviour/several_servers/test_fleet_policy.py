"""The fleet policy with several Servers: set at one, it is in force at all."""

import asyncio
from datetime import timedelta

import pytest

from lyftdata.server.runtime import background

PATH = "/api/worker/session"
HOST = {"agent_version": "1.1.0", "hostname": "rack-7"}


@pytest.fixture(autouse=True)
def _no_background_counts(monkeypatch):
    """Keep Servers from counting their fleet by themselves."""
    monkeypatch.setattr(background, "_COUNT_VERSIONS_EVERY_S", 86_400.0)


async def test_a_policy_set_at_one_server_is_in_force_at_the_other(two):
    """It ends a session at the other Server with the cause; once the other has cleared it, the Worker can connect anywhere."""
    first, second = two
    admin = await first.sign_in()
    body = {"name": "press-01", "id": "press-01", "issue_key": True}
    key = (await first.http.post("/api/workers", json=body, headers=admin)).json()["api_key"]["key"]
    bearer = {
        "Authorization": f"Bearer {(await second.token_by_key('press-01', key)).json()['access_token']}"
    }
    poll = {"boot_id": "boot-0001", "host": HOST}
    assert (await second.http.post(PATH, json=poll, headers=bearer)).status_code == 200
    held = asyncio.create_task(second.http.post(PATH, json=poll, headers=bearer))

    policy = {"refuse_below": "1.2"}
    assert (await first.http.put("/api/fleet/policy", json=policy, headers=admin)).status_code == 200

    answer = (await asyncio.wait_for(held, 60)).json()
    # A poll that was not held yet gets the refusal instead of the directive.
    assert "agent_too_old" in {answer.get("code"), *(one["code"] for one in answer.get("directives", []))}
    for server in two:
        refused = await server.http.post(PATH, json=poll, headers=bearer)
        assert (refused.status_code, refused.json()["code"]) == (403, "agent_too_old")
    assert (await second.http.delete("/api/fleet/policy", headers=admin)).status_code == 204
    async with asyncio.timeout(60):
        while first.services.directory.fleet_policy is not None:
            await asyncio.sleep(0.02)
    assert (await first.http.post(PATH, json=poll, headers=bearer)).status_code == 200


async def test_a_poll_refused_at_another_server_ends_the_session_at_once(two):
    """A Worker connected to one Server polls the other after the policy took effect: it is offline at both, and not counted as lost."""
    first, second = two
    admin = await first.sign_in()
    body = {"name": "press-01", "id": "press-01", "issue_key": True}
    key = (await first.http.post("/api/workers", json=body, headers=admin)).json()["api_key"]["key"]
    bearer = {"Authorization": f"Bearer {(await first.token_by_key('press-01', key)).json()['access_token']}"}
    poll = {"boot_id": "boot-0001", "host": HOST}
    soon = (first.clock() + timedelta(seconds=2)).isoformat()
    policy = {"refuse_below": "1.2", "refuse_from": soon}
    assert (await first.http.put("/api/fleet/policy", json=policy, headers=admin)).status_code == 200
    assert (await first.http.post(PATH, json=poll, headers=bearer)).status_code in {200, 403}
    async with asyncio.timeout(60):
        while (
            answer := await second.http.post(PATH, json=poll | {"max_hold_s": 1}, headers=bearer)
        ).status_code == 200:
            pass
        assert answer.json()["code"] == "agent_too_old"
        for server in two:
            while server.services.sessions.find("press-01") is not None:
                await asyncio.sleep(0.02)
    sessions = (await second.http.get("/api/workers/press-01/sessions", headers=admin)).json()["items"]
    assert "lost" not in {one["end"] for one in sessions}


async def test_two_servers_count_a_fleet_only_once(two, monkeypatch):
    """With one Worker connected to each, the hour has both Workers once, and both Servers show the same."""
    first, second = two
    # Both counts are in the same hour.
    now = first.clock()
    for server in two:
        monkeypatch.setattr(server.services.version_histories, "_clock", lambda: now)
    admin = await first.sign_in()
    for server, worker_id, version in ((first, "press-01", "1.4.0"), (second, "press-02", "1.3.0")):
        body = {"name": worker_id, "id": worker_id, "issue_key": True}
        key = (await first.http.post("/api/workers", json=body, headers=admin)).json()["api_key"]["key"]
        token = (await server.token_by_key(worker_id, key)).json()["access_token"]
        poll = {"boot_id": "boot-0001", "host": {"agent_version": version}}
        answer = await server.http.post(PATH, json=poll, headers={"Authorization": f"Bearer {token}"})
        assert answer.status_code == 200
    async with asyncio.timeout(60):
        for server in two:
            while len(await server.services.fleet_versions.shares()) < 2:
                await asyncio.sleep(0.02)

    done = await asyncio.gather(*(server.services.version_histories.look() for server in two))

    assert sorted(done) == [False, True]
    shown = [
        (await server.http.get("/api/fleet/versions/history", headers=admin)).json()["points"]
        for server in two
    ]
    assert shown[0] == shown[1]
    counted = [(one["version"], one["workers"]) for step in shown[0] for one in step["versions"]]
    assert sorted(counted) == [("1.3.0", 1), ("1.4.0", 1)]
