"""Tokens stop working the moment their credential or Worker is withdrawn, and never work again."""

import pytest


async def token(server, press):
    """Return a token."""
    return (await server.token_by_key(*press)).json()["access_token"]


async def test_verify_identifies_the_worker_in_headers(server, admin, press):
    """Name, strategy and labels; a name with other characters than ASCII is percent-encoded."""
    given = await token(server, press)
    await server.http.patch(
        "/api/workers/press-01", json={"name": "Prëss ✓", "labels": {"zone": "eu-1"}}, headers=admin
    )

    answer = await server.verify(given)

    assert answer.status_code == 204
    assert answer.headers["x-lyftdata-worker-name"] == "Pr%C3%ABss %E2%9C%93"
    assert answer.headers["x-lyftdata-worker-strategy"] == "api_key"
    assert answer.headers["x-lyftdata-worker-labels"] == "zone=eu-1"


async def test_a_cached_token_expires_on_time(server, press):
    """Caching a verified token saves the signature check, not the check of its expiry."""
    given = await token(server, press)
    assert (await server.verify(given)).status_code == 204
    server.clock.forward(seconds=899)
    assert (await server.verify(given)).status_code == 204
    server.clock.forward(seconds=1)
    assert await server.cause(await server.verify(given)) == "token_expired"


TAKEN_BACK = {
    "disable": ("PATCH", "/api/workers/press-01", {"enabled": False}),
    "delete": ("DELETE", "/api/workers/press-01", None),
    "revoke": ("POST", "/api/api-keys/{key}/revoke", None),
    "rotate": ("POST", "/api/api-keys/{key}/rotate", {"grace_s": 0}),
}


@pytest.mark.parametrize("how", list(TAKEN_BACK))
async def test_every_kind_of_withdrawal_ends_valid_tokens(server, admin, press, how):
    """Disabling, deleting, revoking, and rotating without a grace period: the next check refuses the token."""
    given = await token(server, press)
    assert (await server.verify(given)).status_code == 204
    (key,) = (await server.http.get("/api/api-keys", headers=admin)).json()["items"]
    method, path, body = TAKEN_BACK[how]

    done = await server.http.request(method, path.format(key=key["name"]), json=body, headers=admin)

    assert done.status_code < 300
    refused = await server.verify(given)
    assert refused.status_code == 401
    assert await server.cause(refused) == "token_revoked"
    assert (await server.token_by_key(*press)).status_code in {400, 401}


async def test_enabling_does_not_revive_old_tokens(server, admin, press):
    """Tokens from before the Worker was disabled stay refused."""
    given = await token(server, press)
    for enabled in (False, True):
        await server.http.patch("/api/workers/press-01", json={"enabled": enabled}, headers=admin)

    assert (await server.verify(given)).status_code == 401
    assert (await server.verify(await token(server, press))).status_code == 204


async def test_a_recreated_worker_does_not_inherit_tokens_or_keys(server, admin):
    """After a Worker is deleted and added again with the same ID, neither old tokens nor its own key work."""
    await server.http.post("/api/api-keys", json={"name": "shared"}, headers=admin)
    body = {"name": "press-01", "id": "press-01", "issue_key": True}
    own_key = (await server.http.post("/api/workers", json=body, headers=admin)).json()["api_key"]["key"]
    given = await token(server, ("press-01", own_key))
    await server.http.delete("/api/workers/press-01", headers=admin)
    server.clock.forward(seconds=1)
    await server.http.post("/api/workers", json={"name": "press-01", "id": "press-01"}, headers=admin)

    assert (await server.verify(given)).status_code == 401
    assert await server.cause(await server.token_by_key("press-01", own_key)) == "api_key_not_for_worker"


async def test_both_keys_work_during_the_grace_period_of_a_rotation(server, admin):
    """Afterwards the old key and the tokens obtained with it are refused."""
    await server.http.post("/api/workers", json={"name": "press-01", "id": "press-01"}, headers=admin)
    old = (await server.http.post("/api/api-keys", json={"name": "press-keys"}, headers=admin)).json()["key"]
    given = await token(server, ("press-01", old))
    answer = await server.http.post("/api/api-keys/press-keys/rotate", json={"grace_s": 60}, headers=admin)
    new = answer.json()["key"]

    assert [(await server.token_by_key("press-01", key)).status_code for key in (old, new)] == [200, 200]
    server.clock.forward(seconds=60)
    assert await server.cause(await server.token_by_key("press-01", old)) == "api_key_rotated"
    assert (await server.token_by_key("press-01", new)).status_code == 200
    assert (await server.verify(given)).status_code == 401


async def test_revocations_survive_a_restart(opened):
    """Other tokens remain valid."""
    async with opened() as server:
        admin = await server.sign_in()
        tokens = {}
        for name in ("stays", "goes"):
            body = {"name": name, "id": name, "issue_key": True}
            key = (await server.http.post("/api/workers", json=body, headers=admin)).json()["api_key"]["key"]
            tokens[name] = await token(server, (name, key))
        await server.http.patch("/api/workers/goes", json={"enabled": False}, headers=admin)
    async with opened() as server:
        assert (await server.verify(tokens["stays"])).status_code == 204
        assert (await server.verify(tokens["goes"])).status_code == 401


@pytest.mark.parametrize(
    "header", [None, "", "Bearer", "Bearer ", "Basic abc", "Bearer a.b.c", "bearer " + "x" * 9000]
)
async def test_an_invalid_token_header_is_refused_at_verify(server, header):
    """A missing header, another scheme or garbage get the same 401 and challenge."""
    answer = await server.http.get(
        "/auth/verify", headers={} if header is None else {"Authorization": header}
    )

    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == 'Bearer realm="lyftdata", error="invalid_token"'
    assert answer.json()["error"] == "invalid_token"


async def test_a_flood_through_a_proxy_is_answered_but_not_recorded_in_full(server, press):
    """A proxy that asks on behalf of many is never rate limited; beyond a limit its refusals share a reference."""
    answers = [await server.verify("a.b.c") for _ in range(300)]

    assert {a.status_code for a in answers} == {401}
    assert len(server.services.refusals._pending) <= 101
    assert (await server.verify(await token(server, press))).status_code == 204
    assert await server.cause(answers[-1]) == "wrong_token"


async def test_a_token_in_the_url_is_ignored(server, press):
    """RFC 6750's query parameter is not supported: URLs end up in logs."""
    given = await token(server, press)

    assert (await server.http.get(f"/auth/verify?access_token={given}")).status_code == 401
