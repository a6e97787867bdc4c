"""Answers of the admin API must not be cached."""

import pytest


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/api/workers", {"name": "press-01", "issue_key": True}),
        ("POST", "/api/enrollment/keys", {"name": "etl-hosts"}),
        ("GET", "/api/workers", None),
        ("GET", "/api/workers/unknown", None),
        ("GET", "/api/nothing-there", None),
        ("POST", "/api/workers", {"name": 5}),
    ],
)
async def test_no_answer_of_the_admin_api_may_be_cached(server, admin, method, path, body):
    """Whether it has a secret, a list or an error."""
    answer = await server.http.request(method, path, json=body, headers=admin)

    assert answer.headers.get_list("cache-control") == ["no-store"]


async def test_an_answer_to_an_unknown_caller_may_not_be_cached(server):
    """A cache must not give one caller's refusal to another."""
    answer = await server.http.get("/api/workers")

    assert (answer.status_code, answer.headers["cache-control"]) == (401, "no-store")
