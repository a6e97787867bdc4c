"""The number of tokens a Worker got, summed over several Servers."""

from datetime import timedelta

import pytest

from lyftdata.server.runtime import background

GRANT = {"grant_type": "client_credentials"}


@pytest.fixture(autouse=True)
def _no_background_flush(monkeypatch):
    """Keep Servers from writing counts by themselves, at the turn of an hour or a minute after the first token."""
    monkeypatch.setattr(background, "_FLUSH_EVERY_S", 86_400.0)


async def counted(server):
    """Return the number of tokens that a Server shows."""
    headers = await server.sign_in()
    answer = await server.http.get("/api/workers/press-01/token-counts", headers=headers)
    return answer.json()["total"]


async def test_the_counts_of_two_servers_add_up(two):
    """Each shows its own count at once, and the other's once it is written."""
    first, second = two
    body = {"name": "press-01", "id": "press-01", "issue_key": True}
    answer = await first.http.post("/api/workers", json=body, headers=await first.sign_in())
    press = ("press-01", answer.json()["api_key"]["key"])
    for server, times in ((first, 2), (second, 3)):
        for _ in range(times):
            assert (await server.http.post("/oauth2/token", data=GRANT, auth=press)).status_code == 200
    assert (await counted(first), await counted(second)) == (2, 3)

    for server in two:
        await server.services.token_counts.flush(server.clock() + timedelta(minutes=1))

    assert (await counted(first), await counted(second)) == (5, 5)
