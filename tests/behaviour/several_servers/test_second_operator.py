"""A second operator where each request may go to another Server: requested at one, confirmed at another, once."""

import asyncio

from tests.second_operator import add_operator, add_workers, turn_on, worker_ids

DELETE_ALL = {"action": "delete", "q": "id:w-", "expect": 2}


async def test_a_change_requested_at_one_server_is_confirmed_once_across_servers(two):
    """The rules apply everywhere at once; of two operators who confirm at two Servers at the same moment one succeeds."""
    first, second = two
    admin = await first.sign_in()
    ben, carol = [await add_operator(second, admin, name) for name in ("ben", "carol")]
    await turn_on(second, admin)
    await add_workers(first, "w-1", "w-2")

    asked = await first.http.post("/api/workers/changes", json=DELETE_ALL, headers=admin)
    assert (asked.status_code, asked.json()["confirmers"]) == (409, ["ben", "carol"])
    path = f"/api/change-requests/{asked.json()['request_id']}/confirm"
    answers = await asyncio.gather(
        first.http.post(path, json={}, headers=ben), second.http.post(path, json={}, headers=carol)
    )

    assert sorted(one.status_code for one in answers) == [200, 409]
    (late,) = [one for one in answers if one.status_code == 409]
    assert late.json()["code"] == "request_decided"
    async with asyncio.timeout(60):
        while worker_ids(first) or worker_ids(second):
            await asyncio.sleep(0.02)
    log = (await first.http.get("/api/audit?action=worker.deleted", headers=admin)).json()["items"]
    assert len(log) == 2


async def test_a_request_is_void_at_every_server_once_its_requesters_sessions_are_ended(two):
    """From the next transaction on, and it is audited as void once."""
    first, second = two
    admin = await first.sign_in()
    ben = await add_operator(second, admin, "ben")
    await turn_on(first, admin)
    await add_workers(first, "w-1", "w-2")
    async with asyncio.timeout(60):
        while len(worker_ids(second)) < 2:
            await asyncio.sleep(0.02)
    asked = await second.http.post("/api/workers/changes", json=DELETE_ALL, headers=admin)
    path = f"/api/change-requests/{asked.json()['request_id']}/confirm"
    assert (await first.http.delete("/api/operators/admin/sessions", headers=ben)).status_code == 204

    answer = await second.http.post(path, json={}, headers=ben)

    assert (answer.status_code, answer.json()["code"]) == (409, "request_void")
    for server in two:
        await server.services.change_requests.expire()
    log = (await second.http.get("/api/audit?action=change_request.void", headers=ben)).json()["items"]
    assert len(log) == 1
