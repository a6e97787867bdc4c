"""Worker entries by the admin API."""

import pytest


async def test_a_worker_as_the_contract_lists_it(server, admin, press):
    """The keys of a listed Worker, and an ID that is made when none is chosen."""
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
    ],
)
async def test_bad_workers_are_refused_with_the_field(server, admin, press, body, status, code):
    """Each fault is named, and nothing is half done: not even its key is issued."""
    answer = await server.http.post("/api/workers", json=body | {"issue_key": True}, headers=admin)

    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
    assert (await server.http.get("/api/workers", headers=admin)).json()["total"] == 1
    assert len((await server.http.get("/api/api-keys", headers=admin)).json()["items"]) == 1


async def test_deleting_all_that_a_search_finds_asks_again_who_the_operator_is(server, admin):
    """As deleting one does: a session that was left open deletes nothing, and may still disable."""
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
