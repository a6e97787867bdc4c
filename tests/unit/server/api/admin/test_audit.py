"""The audit log by the admin API."""

import json


async def test_what_operators_do_is_audited_and_the_chain_is_whole(server, admin, press):
    """Each change has its event, with actor and address; verification finds the chain whole."""
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
