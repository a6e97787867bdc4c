"""Worker entries in the admin API."""

import pytest


async def test_a_listed_worker_has_the_documented_fields(server, admin, press):
    """A Worker that is added without an ID gets a generated one."""
    generated = (await server.http.post("/api/workers", json={"name": "made"}, headers=admin)).json()[
        "worker"
    ]["id"]
    listed = (await server.http.get("/api/workers", headers=admin)).json()

    assert {
        "id",
        "name",
        "strategy",
        "enabled",
        "status",
        "labels",
        "last_seen_at",
        "address",
        "enrolled_with",
        "api_key",
    } <= set(listed["items"][0])
    assert listed["total"] == 2
    assert generated.startswith("w-")


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"name": ""}, 422, "invalid_input"),
        ({"name": "x" * 65}, 422, "invalid_input"),
        ({"name": "a\nb"}, 422, "invalid_input"),
        ({"name": 5}, 422, "invalid_input"),
        ({}, 422, "invalid_input"),
        ({"name": "w", "id": "-x"}, 422, "invalid_input"),
        ({"name": "w", "id": "a/b"}, 422, "invalid_input"),
        ({"name": "w", "labels": {"a b": ""}}, 422, "invalid_input"),
        ({"name": "w", "labels": {"a": 1}}, 422, "invalid_input"),
        ({"name": "w", "nmae": "typo"}, 422, "invalid_input"),
        ({"name": "press-01"}, 409, "worker_name_taken"),
        ({"name": "w", "id": "press-01"}, 409, "worker_id_taken"),
        ({"name": "w", "id": "Press-01"}, 409, "worker_id_taken"),
    ],
)
async def test_an_invalid_worker_is_rejected(server, admin, press, body, status, code):
    """And nothing is left half done: no API key is issued either."""
    answer = await server.http.post("/api/workers", json=body | {"issue_key": True}, headers=admin)

    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
    assert (await server.http.get("/api/workers", headers=admin)).json()["total"] == 1
    assert len((await server.http.get("/api/api-keys", headers=admin)).json()["items"]) == 1


async def test_deleting_a_searchs_workers_needs_reauthentication(server, admin):
    """As deleting one does: with a session that was left open one can disable Workers, but not delete them."""
    for worker_id in ("w-1", "w-2"):
        await server.http.post("/api/workers", json={"name": worker_id, "id": worker_id}, headers=admin)
    server.clock.forward(hours=1)
    body = {"q": "id:w-", "expect": 2}

    refused = await server.http.post("/api/workers/changes", json=body | {"action": "delete"}, headers=admin)
    disabled = await server.http.post(
        "/api/workers/changes", json=body | {"action": "disable"}, headers=admin
    )

    assert (refused.status_code, refused.json()["code"]) == (401, "reauthentication_required")
    assert (disabled.status_code, disabled.json()["changed"]) == (201, 2)


async def test_many_workers_are_added_in_one_request(server, admin):
    """Each key in the answer names its Worker and works; the cost is charged to the operator's budget."""
    before = server.services.budget._left("admin")
    body = {"names": "press-[01-50]", "ids": "press-[01-50]", "labels": {"zone": "eu-1"}, "issue_key": "each"}

    answer = await server.http.post("/api/workers/batch", json=body, headers=admin)

    added = answer.json()
    assert answer.status_code == 201, answer.text
    assert [entry["id"] for entry in added["workers"]] == [f"press-{number:02}" for number in range(1, 51)]
    assert [key["worker_ids"] for key in added["api_keys"]] == [[entry["id"]] for entry in added["workers"]]
    token = await server.http.post(
        "/oauth2/token",
        data={"grant_type": "client_credentials"},
        auth=("press-50", added["api_keys"][-1]["key"]),
    )
    assert token.status_code == 200
    assert before - server.services.budget._left("admin") > 40


async def test_a_range_with_one_taken_name_adds_no_worker(server, admin):
    """The answer names what is taken."""
    first = await server.http.post("/api/workers", json={"name": "press-02"}, headers=admin)
    refused = await server.http.post(
        "/api/workers/batch", json={"names": "press-[01-03]", "issue_key": "shared"}, headers=admin
    )
    listed = await server.http.get("/api/workers", headers=admin)

    assert (first.status_code, refused.status_code) == (201, 409)
    assert (refused.json()["code"], "'press-02'" in refused.json()["detail"]) == ("worker_name_taken", True)
    assert [entry["name"] for entry in listed.json()["items"]] == ["press-02"]
