"""Resources, as admins define them."""

import pytest
from tests.builders import ISSUER
from tests.oauth_requests import AUDIENCE, OTHER, define


@pytest.mark.parametrize(
    "body",
    [
        {"name": "x", "audience": AUDIENCE},
        {"name": "a b", "audience": AUDIENCE},
        {"name": "ok", "audience": ""},
        {"name": "ok", "audience": "https://a b"},
        {"name": "ok", "audience": "https://x.example/#f"},
        {"name": "ok", "audience": ISSUER},
        {"name": "ok", "audience": ISSUER + "/"},
        {"name": "ok", "audience": "https://x.example/" + "a" * 300},
        {"name": "ok", "audience": AUDIENCE, "scopes": ["a b"]},
        {"name": "ok", "audience": AUDIENCE, "scopes": ['"']},
        {"name": "ok", "audience": AUDIENCE, "scopes": [f"s{n}" for n in range(33)]},
        {"name": "ok", "audience": AUDIENCE, "labels": ["a=1,b=2"]},
        {"name": "ok", "audience": AUDIENCE, "labels": [""]},
        {"name": "ok", "audience": AUDIENCE, "worker_ids": ["-x"]},
    ],
)
async def test_an_invalid_resource_is_rejected(server, admin, body):
    """And nothing is stored."""
    answer = await server.http.post("/api/resources", json=body, headers=admin)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_input")
    assert (await server.http.get("/api/resources", headers=admin)).json()["items"] == []


async def test_names_and_audiences_are_unique(server, admin):
    """A token must not be valid for two services."""
    await define(server, admin)
    for body, code in (
        ({"name": "broker", "audience": OTHER}, "resource_name_taken"),
        ({"name": "second", "audience": AUDIENCE}, "resource_audience_taken"),
    ):
        answer = await server.http.post("/api/resources", json=body, headers=admin)
        assert (answer.status_code, answer.json()["code"]) == (409, code)
    assert (await server.http.get("/api/resources/none", headers=admin)).json()[
        "code"
    ] == "resource_not_found"


async def test_resources_survive_a_restart_and_are_audited(opened):
    """Created, changed, given a key, deleted."""
    async with opened() as server:
        admin = await server.sign_in()
        await define(server, admin)
        clock = server.clock
    async with opened(clock) as server:
        admin = await server.sign_in()
        await server.http.patch("/api/resources/broker", json={"scopes": ["read"]}, headers=admin)
        await server.http.post("/api/resources/broker/key", headers=admin)
        assert (await server.http.get("/api/resources/broker", headers=admin)).json()["scopes"] == ["read"]
        assert (await server.http.delete("/api/resources/broker", headers=admin)).status_code == 204
        events = (
            await server.http.get("/api/audit", params={"subject": "resource:broker"}, headers=admin)
        ).json()
        assert [e["action"] for e in events["items"]] == [
            "resource.deleted",
            "resource.key_issued",
            "resource.changed",
            "resource.created",
        ]
