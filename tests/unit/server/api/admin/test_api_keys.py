"""API keys in the admin API."""


async def test_a_key_is_shown_once(server, admin):
    """It is in the answer that created it and in no other."""
    answer = await server.http.post("/api/api-keys", json={"name": "press-keys"}, headers=admin)
    secret = answer.json()["key"][20:52]

    for path in ("api-keys", "api-keys/press-keys", "audit", "audit/export"):
        assert secret not in (await server.http.get(f"/api/{path}", headers=admin)).text


async def test_an_invalid_api_key_request_is_rejected(server, admin, press):
    """A bad name, an unknown or enrolled Worker, a lifetime of zero: each with its reason."""
    enrolled, _ = await server.enrolled()
    for body, code in (
        ({"name": "abcd"}, "invalid_input"),
        ({"name": "some-key", "worker_ids": []}, "invalid_input"),
        ({"name": "some-key", "worker_ids": ["nobody"]}, "worker_not_found"),
        ({"name": "some-key", "worker_ids": [enrolled]}, "wrong_strategy"),
        ({"name": "some-key", "expires_in_s": 0}, "invalid_input"),
        ({"name": "some-key", "expires_in_s": -5}, "invalid_input"),
        ({"name": "some-key", "expires_in_s": 10**12}, "invalid_input"),
    ):
        answer = await server.http.post("/api/api-keys", json=body, headers=admin)
        assert answer.json()["code"] == code, body
    for path, method in (("nokey", "GET"), ("nokey/revoke", "POST"), ("nokey/rotate", "POST")):
        answer = await server.http.request(method, f"/api/api-keys/{path}", json={}, headers=admin)
        assert answer.json()["code"] == "api_key_not_found"


async def test_a_revoked_key_is_not_rotated_and_revoking_twice_changes_nothing(server, admin):
    """A revoked key stays revoked, since the first time."""
    await server.http.post("/api/api-keys", json={"name": "press-keys"}, headers=admin)
    first = await server.http.post("/api/api-keys/press-keys/revoke", headers=admin)
    server.clock.forward(seconds=5)
    second = await server.http.post("/api/api-keys/press-keys/revoke", headers=admin)
    rotated = await server.http.post("/api/api-keys/press-keys/rotate", json={}, headers=admin)

    assert first.json()["revoked_at"] == second.json()["revoked_at"]
    assert (rotated.status_code, rotated.json()["code"]) == (409, "api_key_revoked")


async def test_the_last_use_of_a_key_names_the_worker(server, admin, press):
    """Both before it is written to the database and after."""
    await server.token_by_key(*press)
    for _ in range(2):
        (key,) = (await server.http.get("/api/api-keys", headers=admin)).json()["items"]
        assert (key["last_used_by"], key["last_used_at"]) == ("press-01", "2026-03-01T12:00:00Z")
        await server.services.traces.flush()
