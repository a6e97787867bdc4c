"""Rotation of API keys and enrollment keys with a deadline: who still uses the old key, how long it works, and its end."""

from datetime import timedelta

import pytest
from tests.builders import NOON

from lyftdata.core.identity_keys import generate_identity_key
from lyftdata.server.runtime.background import flush

API_KEY = "/api/api-keys/press-keys"
ENROLLMENT_KEY = "/api/enrollment/keys/etl-hosts"


@pytest.fixture
async def press_key(server, admin):
    """Return a key shared by the Workers press-01, press-02 and press-03."""
    for worker_id in ("press-01", "press-02", "press-03"):
        body = {"name": worker_id, "id": worker_id}
        await server.http.post("/api/workers", json=body, headers=admin)
    answer = await server.http.post("/api/api-keys", json={"name": "press-keys"}, headers=admin)
    return answer.json()["key"]


async def post(server, path, admin, **body):
    """Send a POST request that must succeed; return the answer."""
    answer = await server.http.post(path, json=body, headers=admin)
    assert answer.status_code in {200, 201}, answer.text
    return answer.json()


async def shown(server, path, admin):
    """Return a key as operators see it."""
    return (await server.http.get(path, headers=admin)).json()


async def lagging(server, admin):
    """Return the IDs of the Workers on each older generation, by the generation's number."""
    key = await shown(server, API_KEY, admin)
    return {old["generation"]: [worker["id"] for worker in old["workers"]] for old in key["previous"]}


async def connect(server, worker_id, key, boot_id="boot-0001"):
    """Connect a Worker; return its token."""
    token = (await server.token_by_key(worker_id, key)).json()["access_token"]
    headers = {"Authorization": f"Bearer {token}"}
    await server.http.post("/api/worker/session", json={"boot_id": boot_id}, headers=headers)
    return token


async def test_workers_that_use_the_old_key_are_listed_until_they_use_the_new_one(server, admin, press_key):
    """Whether or not they are connected or their use is already written; a Worker that has never used the key is not listed."""
    await connect(server, "press-01", press_key)
    await server.token_by_key("press-02", press_key)
    await flush(server.services)
    server.clock.forward(seconds=1)
    rotated = await post(server, f"{API_KEY}/rotate", admin, ends_at="2026-03-01T13:00:00Z")
    new = rotated["key"]

    (old,) = rotated["api_key"]["previous"]
    assert (old["generation"], old["expires_at"], old["ends_in_s"]) == (1, "2026-03-01T13:00:00Z", 3599)
    assert old["workers"] == [
        {"id": "press-01", "online": True, "last_used_at": "2026-03-01T12:00:00Z"},
        {"id": "press-02", "online": False, "last_used_at": "2026-03-01T12:00:00Z"},
    ]
    (listed,) = (await shown(server, "/api/api-keys", admin))["items"]
    assert listed["previous"] == [old]

    server.clock.forward(seconds=1)
    await server.token_by_key("press-02", new)
    assert await lagging(server, admin) == {1: ["press-01"]}
    await server.token_by_key("press-01", new)
    assert await lagging(server, admin) == {1: ["press-01"]}, "its session came by the old key"
    await connect(server, "press-01", new)
    assert await lagging(server, admin) == {1: []}
    server.clock.forward(seconds=1)
    await server.token_by_key("press-02", press_key)
    await flush(server.services)
    assert await lagging(server, admin) == {1: ["press-02"]}, "one of its programs still has the old key"

    server.clock.forward(hours=1)
    assert await lagging(server, admin) == {}
    assert await server.cause(await server.token_by_key("press-02", press_key)) == "api_key_rotated"
    assert (await server.token_by_key("press-02", new)).status_code == 200


async def test_a_deleted_worker_is_not_listed_as_a_user_of_the_old_key(server, admin, press_key):
    """Whether its use was written before it was deleted or not."""
    await server.token_by_key("press-01", press_key)
    await flush(server.services)
    await server.token_by_key("press-02", press_key)
    await post(server, f"{API_KEY}/rotate", admin, grace_s=60)
    for worker_id in ("press-01", "press-02"):
        await server.http.delete(f"/api/workers/{worker_id}", headers=admin)
    await flush(server.services)

    assert await lagging(server, admin) == {1: []}


async def test_a_second_rotation_meanwhile_keeps_the_first_deadline(server, admin, press_key):
    """Three generations work at the same time, each with its own Workers; a shorter deadline also ends older generations earlier."""
    second = (await post(server, f"{API_KEY}/rotate", admin, grace_s=600))["key"]
    third = (await post(server, f"{API_KEY}/rotate", admin, grace_s=3600))["key"]
    for worker_id, key in (("press-01", press_key), ("press-02", second), ("press-03", third)):
        assert (await server.token_by_key(worker_id, key)).status_code == 200

    key = await shown(server, API_KEY, admin)
    assert [(old["generation"], old["ends_in_s"]) for old in key["previous"]] == [(2, 3600), (1, 600)]
    assert await lagging(server, admin) == {2: ["press-02"], 1: ["press-01"]}

    await post(server, f"{API_KEY}/rotate", admin, grace_s=60)
    key = await shown(server, API_KEY, admin)
    assert [old["ends_in_s"] for old in key["previous"]] == [60, 60, 60]


async def test_ending_the_old_key_cuts_off_only_its_workers(server, admin, press_key):
    """Its sessions and tokens end before the answer, and those of the new key stay; ending it twice changes nothing."""
    old_token = await connect(server, "press-01", press_key)
    new = (await post(server, f"{API_KEY}/rotate", admin, grace_s=3600))["key"]
    new_token = await connect(server, "press-02", new)

    assert (await post(server, f"{API_KEY}/end-previous", admin))["previous"] == []

    sessions = server.services.sessions
    assert [sessions.is_online(worker_id) for worker_id in ("press-01", "press-02")] == [False, True]
    assert [(await server.verify(token)).status_code for token in (old_token, new_token)] == [401, 204]
    assert await server.cause(await server.token_by_key("press-01", press_key)) == "api_key_rotated"
    await post(server, f"{API_KEY}/end-previous", admin)
    events = (await shown(server, "/api/audit?action=api_key.previous_ended", admin))["items"]
    assert [event["subject"] for event in events] == ["api_key:press-keys"]


@pytest.mark.parametrize("path", [API_KEY, ENROLLMENT_KEY])
@pytest.mark.parametrize(
    "body",
    [
        {"ends_at": "2026-03-01T12:00:00Z"},
        {"ends_at": "2025-03-01T12:00:00Z"},
        {"ends_at": "2026-03-01T13:00:00"},
        {"ends_at": "tomorrow"},
        {"ends_at": "2026-06-01T12:00:00Z"},
        {"ends_at": "2026-03-01T13:00:00Z", "grace_s": 60},
        {"grace_s": -1},
    ],
)
async def test_an_invalid_deadline_changes_nothing(server, admin, press_key, path, body):
    """Now, in the past, without a time zone, not a time, beyond 90 days, given twice, or negative."""
    await post(server, "/api/enrollment/keys", admin, name="etl-hosts")

    answer = await server.http.post(f"{path}/rotate", json=body, headers=admin)

    assert answer.status_code == 422, answer.text
    assert (await shown(server, path, admin))["generation"] == 1


async def test_a_key_that_expires_before_the_deadline_ends_when_it_expires(server, admin):
    """A rotation does not extend its lifetime; the next generation gets a lifetime of the same length."""
    await server.http.post("/api/workers", json={"name": "press-01", "id": "press-01"}, headers=admin)
    key = (await post(server, "/api/api-keys", admin, name="press-keys", expires_in_s=600))["key"]

    rotated = await post(server, f"{API_KEY}/rotate", admin, grace_s=3600)

    assert [old["ends_in_s"] for old in rotated["api_key"]["previous"]] == [600]
    assert rotated["api_key"]["expires_at"] == (NOON + timedelta(seconds=600)).strftime("%Y-%m-%dT%H:%M:%SZ")
    server.clock.forward(seconds=600)
    assert await server.cause(await server.token_by_key("press-01", key)) == "api_key_rotated"


@pytest.mark.parametrize("path", [API_KEY, ENROLLMENT_KEY])
async def test_revoking_a_key_during_a_rotation_ends_every_generation(server, admin, press_key, path):
    """No deadline is left, and ending or rotating the key does not bring it back."""
    await post(server, "/api/enrollment/keys", admin, name="etl-hosts")
    await post(server, f"{path}/rotate", admin, grace_s=3600)

    revoked = await post(server, f"{path}/revoke", admin)

    assert (revoked["status"], revoked["previous"]) == ("revoked", [])
    assert (await post(server, f"{path}/end-previous", admin))["status"] == "revoked"
    assert (await server.http.post(f"{path}/rotate", json={}, headers=admin)).status_code == 409


@pytest.mark.parametrize("kind", ["api-keys", "enrollment/keys"])
async def test_ending_the_previous_generation_requires_an_existing_key(server, admin, kind):
    """A mistyped name is 404, and `startup` can only be changed by its setting."""
    answer = await server.http.post(f"/api/{kind}/no-such-key/end-previous", headers=admin)
    assert answer.status_code == 404
    answer = await server.http.post("/api/enrollment/keys/startup/end-previous", headers=admin)
    assert (answer.status_code, answer.json()["code"]) == (409, "enrollment_key_is_a_setting")


async def test_hosts_that_still_enroll_with_the_old_key_are_listed(server, admin):
    """Only those that enrolled with it since the rotation."""
    old = (await post(server, "/api/enrollment/keys", admin, name="etl-hosts"))["key"]

    async def enroll(name, secret):
        identity = generate_identity_key()
        proof = server.proof(identity, name, secret=secret)
        return await server.register(identity, name, credential=proof)

    assert (await enroll("before", old)).status_code == 201
    server.clock.forward(seconds=1)
    new = (await post(server, f"{ENROLLMENT_KEY}/rotate", admin, ends_at="2026-03-01T13:00:00Z"))["key"]
    late = (await enroll("late", old)).json()["client_id"]
    assert (await enroll("prompt", new)).status_code == 201

    (previous,) = (await shown(server, ENROLLMENT_KEY, admin))["previous"]
    assert previous["ends_in_s"] == 3599
    assert previous["hosts"] == [
        {
            "worker_id": late,
            "worker_name": "late",
            "address": "127.0.0.1",
            "enrolled_at": "2026-03-01T12:00:01Z",
        }
    ]

    assert (await post(server, f"{ENROLLMENT_KEY}/end-previous", admin))["previous"] == []
    assert await server.cause(await enroll("later", old)) == "enrollment_key_expired"
    assert (await enroll("prompt-2", new)).status_code == 201


async def test_a_near_end_is_an_alert_while_workers_still_use_the_old_key(server, admin, press_key):
    """From three days before; there is no alert once no Worker uses it any more."""
    await server.token_by_key("press-01", press_key)
    new = (await post(server, f"{API_KEY}/rotate", admin, grace_s=4 * 86_400))["key"]

    async def alerts():
        items = (await shown(server, "/api/attention", admin))["items"]
        return [(item["subject"], item["detail"]) for item in items if item["kind"] == "key_rotation"]

    assert await alerts() == []
    server.clock.forward(days=1)
    admin = await server.sign_in()
    assert await alerts() == [("press-keys", "1 Worker still uses it.")]
    await server.token_by_key("press-01", new)
    assert await alerts() == []
