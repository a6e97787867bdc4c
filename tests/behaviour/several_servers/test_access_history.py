"""Which Workers could connect at an earlier time, when several Servers have made changes since."""


async def access_at(server, at):
    """Return each Worker's access at a time."""
    headers = await server.sign_in()
    query = {"at": at.isoformat()}
    answer = await server.http.get("/api/audit/access", params=query, headers=headers)
    assert answer.status_code == 200, answer.text
    return [(worker["worker_id"], worker["access"]) for worker in answer.json()["workers"]]


async def test_every_server_shows_the_same_access_history(two):
    """It does not matter which Server made which change."""
    first, second = two
    before = first.clock()
    body = {"name": "press-01", "id": "press-01", "issue_key": True}
    added = await first.http.post("/api/workers", json=body, headers=await first.sign_in())
    assert added.status_code == 201
    while_enabled = first.clock()
    disabled = await second.http.patch(
        "/api/workers/press-01", json={"enabled": False}, headers=await second.sign_in()
    )
    assert disabled.status_code == 200
    after = second.clock()

    for server in two:
        assert await access_at(server, before) == []
        assert await access_at(server, while_enabled) == [("press-01", "yes")]
        assert await access_at(server, after) == [("press-01", "disabled")]
