"""`/api/fleet/policy`: an operator sees what a policy would do before it is set."""

import pytest
from tests.unit.server.api.test_agent_version import FROM, POLICY, bearer_of, poll, set_policy


@pytest.fixture
async def bearer(server, press):
    """Return the headers of the Worker's requests."""
    return await bearer_of(server, press)


async def test_a_preview_shows_who_is_affected_and_changes_nothing(server, admin, bearer):
    """By the version that each Worker reported last, connected or not."""
    await poll(server, bearer)
    await server.enrolled("never-connected")
    before = (await server.http.get("/api/fleet/policy", headers=admin)).json()
    preview = await server.http.post("/api/fleet/policy/preview", json=POLICY, headers=admin)

    found = preview.json()
    assert (found["warned"], found["refused_later"], found["refused"], found["total"]) == (1, 1, 0, 1)
    [affected] = found["items"]
    assert (affected["id"], affected["version"], affected["online"]) == ("press-01", "1.1.0", True)
    assert affected["refused_from"] == "2026-03-01T12:05:00Z"
    assert before["policy"] is None
    assert (await server.http.get("/api/fleet/policy", headers=admin)).json() == before
    assert (await poll(server, bearer)).json().get("outdated") is None
    shares = (await server.http.get("/api/fleet/versions", headers=admin)).json()["items"]
    assert shares == [{"version": "1.1.0", "workers": 1, "online": 1, "standing": "current"}]


async def test_the_list_of_affected_workers_is_paged(server, admin):
    """The order is the same on all pages, and a Worker deleted in between does not shift the others."""
    for number in range(5):
        worker = f"press-{number}"
        body = {"name": worker, "id": worker, "issue_key": True}
        made = (await server.http.post("/api/workers", json=body, headers=admin)).json()
        await poll(server, await bearer_of(server, (worker, made["api_key"]["key"])))
    await set_policy(server, admin)
    first = (await server.http.get("/api/fleet/policy?limit=2", headers=admin)).json()
    await server.http.delete("/api/workers/press-1", headers=admin)

    second = await server.http.get(f"/api/fleet/policy?limit=2&after={first['next']}", headers=admin)
    path = f"/api/fleet/policy/preview?limit=2&after={second.json()['next']}"
    last = (await server.http.post(path, json=POLICY, headers=admin)).json()

    pages = [first, second.json(), last]
    listed = [[one["id"] for one in page["items"]] for page in pages]
    assert listed == [["press-0", "press-1"], ["press-2", "press-3"], ["press-4"]]
    assert [page["total"] for page in pages] == [5, 4, 4]
    assert last["next"] is None


@pytest.mark.parametrize("after", ["x", "e30", "%F0%9F%98%80"])
async def test_an_invalid_page_position_is_rejected(server, admin, after):
    """The answer names the field."""
    await set_policy(server, admin)
    answer = await server.http.get(f"/api/fleet/policy?after={after}", headers=admin)
    assert (answer.status_code, answer.json()["field"]) == (422, "after")


async def test_a_policy_is_audited_with_its_values(server, admin):
    """When it is set and cleared; clearing it twice is one event."""
    await set_policy(server, admin)
    for _ in range(2):
        await server.http.delete("/api/fleet/policy", headers=admin)
    events = (await server.http.get("/api/audit", headers=admin)).json()["items"]
    found = [(one["action"], one["details"]) for one in events if one["subject"] == "fleet_policy"]
    assert sorted(found) == [
        ("fleet_policy.cleared", {}),
        ("fleet_policy.set", {"warn_below": "1.4", "refuse_below": "1.2", "from": "2026-03-01T12:05:00Z"}),
    ]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "warn_below"),
        ({"warn_below": "latest"}, "warn_below"),
        ({"warn_below": "1.1", "refuse_below": "1.2"}, "warn_below"),
        ({"warn_below": "1.1", "refuse_from": FROM}, "from"),
    ],
)
async def test_a_policy_that_contradicts_itself_is_rejected(server, admin, body, field):
    """By the preview and by the change, and the answer names the field."""
    for method, path in (("POST", "/api/fleet/policy/preview"), ("PUT", "/api/fleet/policy")):
        answer = await server.http.request(method, path, json=body, headers=admin)
        assert (answer.status_code, answer.json()["field"]) == (422, field)
