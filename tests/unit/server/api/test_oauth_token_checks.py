"""`POST /oauth2/introspect` (RFC 7662) and `POST /oauth2/revoke` (RFC 7009): who may ask about a token, and who may revoke it."""

import json

import pytest
from tests.builders import ISSUER
from tests.oauth_requests import AUDIENCE, OTHER, claims_of, define


async def ask(server, client_id, secret, token, path="introspect"):
    """Ask about a token, with Basic authentication."""
    return await server.http.post(f"/oauth2/{path}", data={"token": token}, auth=(client_id, secret))


async def issue_resource_key(server, admin, name="broker"):
    """Issue a key for a resource, and return it."""
    return (await server.http.post(f"/api/resources/{name}/key", headers=admin)).json()["key"]


async def test_introspection_reports_the_present_state_of_a_token(server, admin, press):
    """Subject, lifetime and scopes: from the present entry, not as they were when the token was issued."""
    await define(server, admin, worker_ids=["press-01"])
    key = await issue_resource_key(server, admin)
    token = (await server.token_by_key(*press, resource=AUDIENCE)).json()["access_token"]
    await server.http.patch("/api/workers/press-01", json={"name": "The press"}, headers=admin)

    introspected = (await ask(server, "broker", key, token)).json()

    assert introspected["active"] is True
    assert (introspected["client_id"], introspected["sub"], introspected["aud"], introspected["iss"]) == (
        "press-01",
        "press-01",
        AUDIENCE,
        ISSUER,
    )
    assert (introspected["scope"], introspected["worker_name"], introspected["token_type"]) == (
        "read write",
        "The press",
        "Bearer",
    )
    assert introspected["exp"] - introspected["iat"] == 900
    await server.http.patch("/api/resources/broker", json={"scopes": ["read"]}, headers=admin)
    assert (await ask(server, "broker", key, token)).json()["scope"] == "read"


@pytest.mark.parametrize("how", ["disable", "take out", "expire", "delete resource", "revoke key"])
async def test_a_revoked_or_expired_token_is_not_active(server, admin, press, how):
    """From the next request on. If the resource itself was deleted, its key is refused."""
    await define(server, admin, worker_ids=["press-01"])
    key = await issue_resource_key(server, admin)
    token = (await server.token_by_key(*press, resource=AUDIENCE)).json()["access_token"]
    match how:
        case "disable":
            await server.http.patch("/api/workers/press-01", json={"enabled": False}, headers=admin)
        case "take out":
            await server.http.patch("/api/resources/broker", json={"worker_ids": []}, headers=admin)
        case "expire":
            server.clock.forward(seconds=900)
        case "delete resource":
            await server.http.delete("/api/resources/broker", headers=admin)
        case "revoke key":
            (worker_key,) = (await server.http.get("/api/api-keys", headers=admin)).json()["items"]
            await server.http.post(f"/api/api-keys/{worker_key['name']}/revoke", headers=admin)

    answer = await ask(server, "broker", key, token)

    if how == "delete resource":
        assert answer.status_code == 401
    else:
        assert answer.json() == {"active": False}


async def test_introspection_reveals_no_other_callers_tokens(server, admin, press):
    """Asked about a token for another resource or of another Worker, the Server answers `"active": false` and nothing else."""
    await define(server, admin, for_all_workers=True)
    await define(server, admin, name="other", audience=OTHER, for_all_workers=True)
    body = {"name": "press-02", "id": "press-02", "issue_key": True}
    second = (await server.http.post("/api/workers", json=body, headers=admin)).json()["api_key"]["key"]
    other = await issue_resource_key(server, admin, "other")
    token = (await server.token_by_key(*press, resource=AUDIENCE)).json()["access_token"]
    plain = (await server.token_by_key(*press)).json()["access_token"]

    for client_id, secret, asked in (
        ("other", other, token),
        ("other", other, plain),
        ("press-02", second, token),
        ("press-02", second, plain),
        ("press-01", press[1], "nonsense"),
        ("press-01", press[1], token[:-4] + "AAAA"),
    ):
        assert (await ask(server, client_id, secret, asked)).json() == {"active": False}
    assert (await ask(server, "press-01", press[1], plain)).json()["active"] is True
    assert (await ask(server, "press-01", press[1], token)).json()["active"] is True


async def test_introspection_needs_a_valid_credential(server, admin, press):
    """Missing, wrong, replaced and other callers' credentials get the same 401; another scheme than Basic is a 400."""
    await define(server, admin, for_all_workers=True)
    old = await issue_resource_key(server, admin)
    key = await issue_resource_key(server, admin)
    token = (await server.token_by_key(*press, resource=AUDIENCE)).json()["access_token"]
    answers = [
        await server.http.post("/oauth2/introspect", data={"token": token}),
        await server.http.post(
            "/oauth2/introspect", data={"token": token}, headers={"Authorization": "Bearer x"}
        ),
        await ask(server, "broker", old, token),
        await ask(server, "other", key, token),
        await ask(server, "press-01", key, token),
        await ask(server, "broker", press[1], token),
        await ask(server, "broker", "nonsense", token),
    ]
    assert [a.status_code for a in answers] == [401, 400, 401, 401, 401, 401, 401]
    same = {json.dumps(a.json() | {"reference": ""}) for a in answers if a.status_code == 401}
    assert len(same) == 1
    assert (await server.http.post("/oauth2/introspect", data={}, auth=("broker", key))).json()[
        "error"
    ] == "invalid_request"


async def test_a_resource_key_gets_no_token(server, admin, press):
    """Whatever Worker it names."""
    await define(server, admin, for_all_workers=True)
    key = await issue_resource_key(server, admin)
    for name in ("broker", "press-01"):
        assert (await server.token_by_key(name, key)).status_code == 401


@pytest.mark.parametrize("path", ["introspect", "revoke"])
async def test_an_empty_parameter_counts_as_omitted(server, press, path):
    """A hint or a second way to authenticate may be sent empty; an empty token is missing."""
    token = (await server.token_by_key(*press)).json()["access_token"]
    empty = dict.fromkeys(("token_type_hint", "client_id", "client_secret", "client_assertion"), "")

    answer = await server.http.post(f"/oauth2/{path}", data=empty | {"token": token}, auth=press)
    missing = await server.http.post(f"/oauth2/{path}", data=empty | {"token": ""}, auth=press)

    assert answer.status_code == 200
    assert (missing.status_code, missing.json()["error_description"]) == (400, "token is missing.")


async def test_a_worker_revokes_one_of_its_tokens(server, admin, press):
    """It is refused everywhere from then on, other tokens stay valid, and the audit log has the event."""
    first, second = [(await server.token_by_key(*press)).json()["access_token"] for _ in range(2)]

    answer = await ask(server, press[0], press[1], first, "revoke")

    assert (answer.status_code, answer.content) == (200, b"")
    assert await server.cause(await server.verify(first)) == "token_revoked"
    assert (await ask(server, press[0], press[1], first)).json() == {"active": False}
    assert (await server.verify(second)).status_code == 204
    (event,) = (
        await server.http.get("/api/audit", params={"action": "token.revoked"}, headers=admin)
    ).json()["items"]
    assert (event["actor"], event["details"]["jti"]) == ("worker:press-01", claims_of(first)["jti"])


async def test_a_revoked_token_stays_revoked_after_a_restart(opened):
    """Until it would have expired."""
    async with opened() as server:
        admin = await server.sign_in()
        body = {"name": "press-01", "id": "press-01", "issue_key": True}
        key = (await server.http.post("/api/workers", json=body, headers=admin)).json()["api_key"]["key"]
        token = (await server.token_by_key("press-01", key)).json()["access_token"]
        await ask(server, "press-01", key, token, "revoke")
        clock = server.clock
    async with opened(clock) as server:
        assert await server.cause(await server.verify(token)) == "token_revoked"


async def test_revoking_another_workers_token_has_no_effect(server, admin, press):
    """RFC 7009: the answer is the same for an own token, another Worker's and nonsense."""
    body = {"name": "press-02", "id": "press-02", "issue_key": True}
    second = (await server.http.post("/api/workers", json=body, headers=admin)).json()["api_key"]["key"]
    token = (await server.token_by_key(*press)).json()["access_token"]
    for asked in (token, "nonsense", token[:-4] + "AAAA"):
        assert (await ask(server, "press-02", second, asked, "revoke")).status_code == 200
    assert (await server.verify(token)).status_code == 204
    assert (await ask(server, "press-02", "wrong", token, "revoke")).status_code == 401


async def test_revocations_by_one_worker_are_limited(server, press):
    """Each is an audit event, so a Worker could fill the log: beyond the limit it gets 503."""
    answers = []
    for _ in range(25):
        token = (await server.token_by_key(*press)).json()["access_token"]
        answers.append((await ask(server, press[0], press[1], token, "revoke")).status_code)
    assert answers == [200] * 20 + [503] * 5
