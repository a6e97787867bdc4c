"""The audit log in the admin API."""

import json

import pytest


async def test_operators_actions_are_audited_in_an_unbroken_chain(server, admin, press):
    """Each change has an event with actor and address, and verification finds the chain intact."""
    await server.http.patch(
        "/api/workers/press-01", json={"enabled": False, "name": "x", "labels": {"a": "1"}}, headers=admin
    )
    await server.http.delete("/api/workers/press-01", headers=admin)
    events = (
        await server.http.get("/api/audit", headers=admin, params={"subject": "worker:press-01"})
    ).json()["items"]

    assert [e["action"] for e in events] == [
        "worker.deleted",
        "worker.disabled",
        "worker.labelled",
        "worker.renamed",
        "worker.created",
    ]
    assert {(e["actor"], e["address"]) for e in events} == {("operator:admin", "127.0.0.1")}
    assert (await server.http.get("/api/audit/verify", headers=admin)).json()["ok"]
    exported = [
        json.loads(line)
        for line in (await server.http.get("/api/audit/export", headers=admin)).text.splitlines()
    ]
    assert [e["number"] for e in exported] == list(range(1, len(exported) + 1))


@pytest.mark.parametrize("path", ["/api/audit", "/api/audit/export", "/api/audit/access"])
@pytest.mark.parametrize("at", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"])
async def test_a_time_outside_the_range_of_utc_is_rejected(server, admin, path, at):
    """It is an invalid value, not a failure of the Server or an export that breaks off."""
    for name in ("at",) if path.endswith("access") else ("since", "until"):
        answer = await server.http.get(path, params={name: at}, headers=admin)

        assert (answer.status_code, answer.json()["field"]) == (422, name)
