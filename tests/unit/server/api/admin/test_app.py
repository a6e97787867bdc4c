"""The admin API as a whole: unknown paths, failures, and input that no handler expects."""

import pytest


async def test_an_unknown_path_or_method_is_answered_as_a_problem(server, admin):
    """The framework's errors have the same format as our own."""
    assert (await server.http.get("/api/nothing", headers=admin)).json()["code"] == "not_found"
    assert (await server.http.put("/api/workers", headers=admin)).json()["code"] == "method_not_allowed"


async def test_an_unexpected_failure_reveals_nothing(server, admin, monkeypatch):
    """A bug answers 500 without details."""

    async def broken(*_args, **_kwargs):
        raise RuntimeError("secret detail")

    monkeypatch.setattr(server.services.operators, "list", broken)
    answer = await server.http.get("/api/operators", headers=admin)

    assert answer.status_code == 500
    assert "secret detail" not in answer.text


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/api/login", b'{"username": "\\ud800", "password": "\\ud800\\ud800\\ud800\\ud800\\ud800\\ud800"}'),
        ("/api/login", b'{"username": "\\u0000", "password": "\\u0000"}'),
        ("/api/login", b"[" * 30_000),
        ("/api/login", b'{"username": ' + b'{"a":' * 10_000),
        ("/api/workers", b'{"name": "\\ud800"}'),
        ("/api/workers", b'{"name": "w", "labels": {"\\ud800": "\\udfff"}}'),
        ("/api/workers", b'{"name": "w", "id": null, "labels": null}'),
        ("/api/api-keys", b'{"name": "\\u0000\\u0000\\u0000\\u0000\\u0000"}'),
        ("/api/api-keys", b'{"name": "some-key", "expires_in_s": 1e308}'),
        ("/api/operators", b'{"name": "\\ud800", "role": "admin"}'),
        (
            "/api/operators",
            b'{"name": "ada", "role": "admin", "password": "\\ud800\\ud800\\ud800\\ud800\\ud800\\ud800\\ud800\\ud800\\ud800\\ud800\\ud800\\ud800"}',
        ),
        ("/api/me/password", b'{"current_password": "\\ud800", "new_password": "\\ud800"}'),
    ],
)
async def test_no_body_makes_the_server_fail(server, admin, path, body):
    """Lone surrogates, null characters, deep nesting and huge numbers are rejected, never a 5xx."""
    answer = await server.http.post(path, content=body, headers=admin | {"Content-Type": "application/json"})

    assert 400 <= answer.status_code < 500, answer.text
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    "query",
    ["q=%00", "q=%ff", "label=%00%3D", "after=%00", "limit=99999999999999999999", "limit=-1", "status=x"],
)
async def test_no_query_makes_the_server_fail(server, admin, query):
    """Odd bytes and numbers in a query get an empty list or a clear error."""
    assert (await server.http.get(f"/api/workers?{query}", headers=admin)).status_code in {200, 422}


@pytest.mark.parametrize("part", ["%00", "%ff", "..%2f..", "a" * 5000, "%0d%0aX: y"])
async def test_no_path_makes_the_server_fail(server, admin, part):
    """Odd IDs, names and references are rejected or not found."""
    for path in ("workers", "api-keys", "refusals"):
        assert (await server.http.get(f"/api/{path}/{part}", headers=admin)).status_code in {400, 404}
