"""`/healthz`, `/readyz` and `/metrics`."""

import pytest

from lyftdata.store.errors import StoreError


async def test_a_working_server_is_alive_and_ready(server):
    """Neither endpoint needs a credential."""
    for path, text in (("/healthz", "ok\n"), ("/readyz", "ready\n")):
        answer = await server.http.get(path)
        assert (answer.status_code, answer.text) == (200, text)


async def test_a_server_that_cannot_write_is_alive_but_not_ready(server, monkeypatch):
    """A load balancer then sends it no requests."""
    health = server.services.store.writer_health
    monkeypatch.setattr(type(health), "is_writing", lambda _self: False)

    answer = await server.http.get("/readyz")

    assert (answer.status_code, answer.text) == (503, "the store does not take changes\n")
    assert (await server.http.get("/healthz")).status_code == 200


async def test_a_server_whose_database_does_not_answer_is_not_ready(server, monkeypatch):
    """The answer says so without naming the database's host."""

    async def fail(*_arguments):
        raise StoreError("The database at db.example.com does not answer.")

    monkeypatch.setattr(type(server.services.store), "read", fail)

    answer = await server.http.get("/readyz")

    assert (answer.status_code, answer.text) == (503, "the store does not answer\n")


async def test_metrics_name_no_worker(server, press):
    """Anyone may read them, so they are only counts."""
    await server.token_by_key(*press)

    answer = await server.http.get("/metrics")

    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert "lyftdata_tokens_total" in answer.text
    assert "press-01" not in answer.text


@pytest.mark.parametrize(
    "header",
    [
        {"X-Forwarded-For": "203.0.113.7"},
        {"forwarded": "for=203.0.113.7"},
        {"X-Real-IP": "203.0.113.7"},
        {"X-Forwarded-For": ""},
    ],
)
async def test_metrics_are_not_served_through_a_proxy(server, header):
    """They need no credential, so anyone who reaches an Ingress could read them. Readiness is not secret."""
    answer = await server.http.get("/metrics", headers=header)

    assert answer.status_code == 404
    assert "lyftdata_" not in answer.text
    assert "at its own address" in answer.text
    assert (await server.http.get("/readyz", headers=header)).status_code == 200
