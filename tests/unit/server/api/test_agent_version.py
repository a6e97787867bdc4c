"""The fleet policy when a Worker connects: which agents are warned or refused, and what operators see of it."""

import asyncio
from datetime import timedelta

import pytest
from tests.builders import NOON

from lyftdata.server.admin import fleet_versions

PATH = "/api/worker/session"
OLD = {"boot_id": "boot-0001", "host": {"agent_version": "1.1.0", "hostname": "rack-7"}}
FROM = (NOON + timedelta(minutes=5)).isoformat()
POLICY = {"warn_below": "1.4", "refuse_below": "1.2", "refuse_from": FROM}


async def bearer_of(server, press):
    """Return the headers of a Worker's requests."""
    token = (await server.token_by_key(*press)).json()["access_token"]
    return {"Authorization": f"Bearer {token}"}


@pytest.fixture
async def bearer(server, press):
    """Return the headers of the Worker's requests."""
    return await bearer_of(server, press)


async def set_policy(server, admin, **changes):
    """Set a fleet policy, and return the answer."""
    answer = await server.http.put("/api/fleet/policy", json=POLICY | changes, headers=admin)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def poll(server, bearer, version="1.1.0", *, boot_id="boot-0001", **more):
    """Poll as an agent of the given version."""
    host = {"hostname": "rack-7"} | ({} if version is None else {"agent_version": version})
    body = {"boot_id": boot_id, "host": host, "max_hold_s": 1} | more
    return await server.http.post(PATH, json=body, headers=bearer)


async def status_of(server, admin):
    """Return the status of the Worker."""
    return (await server.http.get("/api/workers/press-01", headers=admin)).json()["status"]


async def alerts(server):
    """Return the alerts about agents that are too old."""
    return [alert for alert in await server.services.alerts.find() if alert.kind == "agent_too_old"]


@pytest.mark.parametrize(
    ("version", "told"),
    [
        ("1.1.0", {"minimum": "1.4", "refused_from": "2026-03-01T12:05:00Z"}),
        ("1.3", {"minimum": "1.4"}),
        ("1.4", None),
        ("nonsense", None),
        (None, None),
    ],
)
async def test_an_outdated_agent_is_warned_in_the_reply(server, admin, bearer, version, told):
    """With the version to update to, and when it will be refused. An agent that reports no valid version is not warned."""
    await set_policy(server, admin)
    answer = await poll(server, bearer, version)
    assert (answer.status_code, answer.json().get("outdated")) == (200, told)


async def test_an_outdated_agent_is_refused_from_the_set_second(server, admin, bearer):
    """At its next poll a connected agent's session ends with that cause, and the refusal is not final."""
    await set_policy(server, admin)
    server.clock.forward(seconds=299)
    assert (await poll(server, bearer)).status_code == 200
    assert await status_of(server, admin) == "online"
    server.clock.forward(seconds=1)

    answer = await poll(server, bearer)

    assert (answer.status_code, answer.json()["code"], answer.json()["final"]) == (
        403,
        "agent_too_old",
        False,
    )
    assert "lyftdata fleet policy" in answer.json()["remedy"]
    assert await server.cause(answer) == "agent_too_old"
    assert await status_of(server, admin) == "offline"
    sessions = (await server.http.get("/api/workers/press-01/sessions", headers=admin)).json()["items"]
    assert [one["end"] for one in sessions] == ["agent_too_old"]
    metrics = (await server.http.get("/metrics")).text
    assert 'lyftdata_refusals_total{cause="agent_too_old"} 1.0' in metrics
    # Its token stays valid: with a newer agent it connects.
    assert (await poll(server, bearer, "1.2")).status_code == 200


async def test_a_new_policy_ends_the_sessions_of_refused_agents(server, admin, bearer):
    """At once and with the cause; when the policy is deleted, the same agent connects again."""
    await poll(server, bearer)
    held = asyncio.create_task(poll(server, bearer, max_hold_s=60))
    while server.services.sessions.find_here("press-01").poll is None:
        await asyncio.sleep(0)

    await set_policy(server, admin, refuse_from=None)

    [directive] = (await held).json()["directives"]
    assert (directive["kind"], directive["code"], directive.get("final", False)) == (
        "stop",
        "agent_too_old",
        False,
    )
    assert await status_of(server, admin) == "offline"
    assert (await poll(server, bearer)).status_code == 403
    assert (await server.http.delete("/api/fleet/policy", headers=admin)).status_code == 204
    assert (await poll(server, bearer)).status_code == 200


async def test_a_refused_agent_in_a_restart_loop_is_counted_and_named(server, admin, bearer):
    """Per start, however often each of them asks. It is one alert, which ends when the Worker is connected."""
    await set_policy(server, admin, refuse_from=None)
    for start in range(4):
        for _ in range(2):
            await poll(server, bearer, boot_id=f"boot-000{start}")

    [alert] = await alerts(server)
    assert alert.title == "Agent too old: press-01"
    assert alert.detail == (
        "The fleet policy refused them 8 times within the hour. Started again and again: press-01 (4 starts)."
    )
    [found] = (await server.http.get("/api/fleet/policy", headers=admin)).json()["refused_agents"]
    assert (found["attempts"], found["starts"], found["entries"], found["hostname"]) == (8, 4, 1, "rack-7")
    await poll(server, bearer, "1.4", boot_id="boot-0009")
    assert await alerts(server) == []


async def test_refused_workers_that_enroll_at_each_start_are_one_group(server, admin):
    """Their IDs differ, and their names differ only in generated parts."""
    await set_policy(server, admin, refuse_from=None)
    for pod in ("7d9f8b6c5d", "5c6b8f9d7e", "6f7e5d4c3b"):
        worker_id, key = await server.enrolled(f"etl-{pod}")
        token = (await server.token_by_assertion(server.assertion(key, worker_id))).json()["access_token"]
        answer = await poll(server, {"Authorization": f"Bearer {token}"}, boot_id=f"boot-{pod}")
        assert answer.status_code == 403

    [alert] = await alerts(server)
    assert alert.title == "Agent too old: etl-*"
    assert alert.detail.endswith("Started again and again: etl-* (3 starts, 3 entries).")
    await server.http.delete("/api/fleet/policy", headers=admin)
    assert await alerts(server) == []


async def test_the_lowest_versions_are_listed_first_up_to_a_limit(server, admin):
    """All are counted, but the list is bounded, because any viewer may ask about a fleet of any size."""
    for version in ("1.10", "1.9", "1.1rc1", "2.0"):
        worker_id, key = await server.enrolled(f"rack-{version}")
        token = (await server.token_by_assertion(server.assertion(key, worker_id))).json()["access_token"]
        bearer = {"Authorization": f"Bearer {token}"}
        assert (await poll(server, bearer, version, boot_id="boot-0001")).status_code == 200

    async def listed(limit):
        body = {"warn_below": "2", "refuse_below": "1.10", "refuse_from": FROM}
        return await server.http.post(f"/api/fleet/policy/preview?limit={limit}", json=body, headers=admin)

    found = (await listed(2)).json()
    assert [one["version"] for one in found["items"]] == ["1.1rc1", "1.9"]
    assert (found["total"], found["warned"], found["refused_later"], found["current"]) == (3, 3, 2, 1)
    assert [one["version"] for one in (await listed(1_000)).json()["items"]] == ["1.1rc1", "1.9", "1.10"]
    assert (await listed(1_001)).status_code == 422


async def test_requests_are_answered_while_versions_are_counted(server, admin, monkeypatch):
    """Counting a hundred thousand entries without a pause would block the event loop for seconds."""
    await server.enrolled("rack-7")
    [entry] = server.services.directory.workers()
    monkeypatch.setattr(server.services.directory, "workers", lambda: iter([entry] * 5_000))
    turns, seen = 0, []

    async def answer_others():
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    monkeypatch.setattr(fleet_versions, "entry_problem", lambda _worker: seen.append(turns))
    others = asyncio.create_task(answer_others())
    await server.services.fleet_versions.shares()
    others.cancel()

    assert len(seen) == 5_000
    assert len(set(seen)) >= 5
