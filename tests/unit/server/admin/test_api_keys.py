"""Changes to the Workers for which an API key is valid."""

from tests.unit.server.admin.test_worker_queries import add


async def issue(server, admin, name, worker_ids):
    """Issue a key and return it."""
    body = {"name": name, "worker_ids": worker_ids}
    return (await server.http.post("/api/api-keys", json=body, headers=admin)).json()["key"]


async def test_a_key_can_be_allowed_for_another_worker(server, admin, press):
    """The refused Worker then gets in with the same key, and the audit log says who allowed it."""
    await add(server, "press-02")
    key = await issue(server, admin, "press-keys", ["press-01"])
    refused = await server.token_by_key("press-02", key)
    assert await server.cause(refused) == "api_key_not_for_worker"

    body = {"worker_ids": ["press-02"]}
    allowed = await server.http.post("/api/api-keys/press-keys/allow", json=body, headers=admin)

    assert allowed.json()["worker_ids"] == ["press-01", "press-02"]
    for worker_id in ("press-01", "press-02"):
        assert (await server.token_by_key(worker_id, key)).status_code == 200
    (event, *_) = (await server.http.get("/api/audit", headers=admin)).json()["items"]
    assert (event["action"], event["subject"]) == ("api_key.allowed", "api_key:press-keys")
    assert event["details"] == {"workers": "press-02"}


async def test_allowing_a_worker_again_changes_nothing(server, admin, press):
    """For a Worker that may already use the key, or a key for all: no change, and no second audit event."""
    await issue(server, admin, "press-keys", ["press-01"])
    await issue(server, admin, "all-keys", None)
    before = (await server.http.get("/api/audit", headers=admin)).json()["items"]

    for name in ("press-keys", "all-keys"):
        body = {"worker_ids": ["press-01"]}
        answer = await server.http.post(f"/api/api-keys/{name}/allow", json=body, headers=admin)
        assert answer.status_code == 200

    assert (await server.http.get("/api/audit", headers=admin)).json()["items"] == before


async def test_allowing_a_worker_includes_the_previous_generation(server, admin, press):
    """During the grace period of a rotation, both keys are for the same Workers."""
    await add(server, "press-02")
    old = await issue(server, admin, "press-keys", ["press-01"])
    await server.http.post("/api/api-keys/press-keys/rotate", json={"grace_s": 60}, headers=admin)

    body = {"worker_ids": ["press-02"]}
    await server.http.post("/api/api-keys/press-keys/allow", json=body, headers=admin)

    assert (await server.token_by_key("press-02", old)).status_code == 200


async def test_an_invalid_request_to_allow_a_worker_is_rejected(server, admin, press):
    """No Worker, an unknown or enrolled one, a revoked or unknown key: each has its own error code."""
    enrolled, _ = await server.enrolled()
    await issue(server, admin, "press-keys", ["press-01"])
    await issue(server, admin, "old-keys", ["press-01"])
    await server.http.post("/api/api-keys/old-keys/revoke", headers=admin)
    for name, worker_ids, code in (
        ("press-keys", [], "invalid_input"),
        ("press-keys", ["nobody"], "worker_not_found"),
        ("press-keys", [enrolled], "wrong_strategy"),
        ("old-keys", ["press-01"], "api_key_revoked"),
        ("no-keys", ["press-01"], "api_key_not_found"),
    ):
        body = {"worker_ids": worker_ids}
        answer = await server.http.post(f"/api/api-keys/{name}/allow", json=body, headers=admin)
        assert answer.json()["code"] == code
    key = (await server.http.get("/api/api-keys/press-keys", headers=admin)).json()
    assert key["worker_ids"] == ["press-01"]
