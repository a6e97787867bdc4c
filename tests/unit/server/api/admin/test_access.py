"""Who may do what by the admin API."""

import pytest

from lyftdata.server.api.admin.app import admin_app

OPERATIONS = [
    (method.upper(), f"/api{path}")
    for path, methods in admin_app().openapi()["paths"].items()
    for method in methods
]


BODIES = {
    ("POST", "/api/workers"): {"name": "w"},
    ("PATCH", "/api/workers/{worker_id}"): {"enabled": False},
    ("POST", "/api/api-keys"): {"name": "some-key"},
    ("POST", "/api/api-keys/{name}/rotate"): {},
    ("POST", "/api/api-keys/{name}/allow"): {"worker_ids": ["w"]},
    ("POST", "/api/enrollment/keys"): {"name": "some-key"},
    ("POST", "/api/enrollment/keys/{name}/rotate"): {},
    ("POST", "/api/signing-keys/rotate"): {},
    ("POST", "/api/resources"): {"name": "broker", "audience": "https://broker.example"},
    ("PATCH", "/api/resources/{name}"): {"scopes": []},
    ("POST", "/api/event-destinations"): {"name": "siem", "transport": "file"},
    ("PATCH", "/api/event-destinations/{name}"): {"paused": True},
    ("POST", "/api/event-destinations/{name}/secret"): {},
    ("POST", "/api/operators"): {"name": "eve", "role": "admin"},
    ("PATCH", "/api/operators/{name}"): {"role": "admin"},
}


FOR_ADMINS = set(BODIES) | {
    ("DELETE", "/api/workers/{worker_id}"),
    ("POST", "/api/api-keys/{name}/revoke"),
    ("POST", "/api/api-keys/{name}/end-previous"),
    ("POST", "/api/enrollment/keys/{name}/end-previous"),
    ("POST", "/api/enrollment/keys/{name}/revoke"),
    ("DELETE", "/api/resources/{name}"),
    ("POST", "/api/resources/{name}/key"),
    ("GET", "/api/event-destinations"),
    ("GET", "/api/event-destinations/{name}"),
    ("DELETE", "/api/event-destinations/{name}"),
    ("POST", "/api/event-destinations/{name}/test"),
    ("DELETE", "/api/operators/{name}"),
}


async def viewer_of(server, admin):
    """Add a viewer and return the headers of their session."""
    body = {"name": "vera", "role": "viewer", "password": "another long one"}
    assert (await server.http.post("/api/operators", json=body, headers=admin)).status_code == 201
    return await server.sign_in("vera", "another long one")


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer nope"}, {"Authorization": "Basic YTpi"}])
async def test_nothing_without_a_session(server, headers, subtests):
    """Every operation but signing in answers 401 to an unknown caller, before it looks at anything else."""
    for method, path in OPERATIONS:
        if path == "/api/login":
            continue

        answer = await server.http.request(method, path, headers=headers)

        with subtests.test(f"{method} {path}"):
            assert answer.status_code == 401
            assert answer.json()["code"] == "not_signed_in"
            assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(("method", "path"), sorted(FOR_ADMINS))
async def test_a_viewer_changes_nothing(server, admin, method, path):
    """Every operation that changes something of others' answers 403 to a viewer."""
    viewer = await viewer_of(server, admin)

    answer = await server.http.request(method, path, json=BODIES.get((method, path)), headers=viewer)

    assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")


async def test_a_viewer_sees_all(server, admin, press):
    """Every list is readable to a viewer."""
    viewer = await viewer_of(server, admin)
    for path in (
        "workers",
        "workers/press-01",
        "api-keys",
        "enrollment",
        "refusals",
        "audit",
        "audit/verify",
        "attention",
        "resources",
        "history",
        "operators",
        "server",
        "whoami",
    ):
        assert (await server.http.get(f"/api/{path}", headers=viewer)).status_code == 200, path


async def test_a_worker_token_is_no_operators_session(server, press):
    """What a Worker holds opens nothing of the admin API."""
    token = (await server.token_by_key(*press)).json()["access_token"]

    answer = await server.http.get("/api/workers", headers={"Authorization": f"Bearer {token}"})

    assert answer.status_code == 401


async def test_an_operators_session_is_no_worker_token(server, admin):
    """What an operator holds does not pass as a Worker."""
    assert (await server.http.get("/auth/verify", headers=admin)).status_code == 401
