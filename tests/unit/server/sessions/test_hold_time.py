"""A Worker requests shorter holds because a proxy or firewall cuts longer connections."""

import asyncio
import json

import pytest


async def poll(server, press, **fields):
    """Post a poll of one boot; return the answer."""
    token = (await server.token_by_key(*press)).json()["access_token"]
    body = json.dumps({"boot_id": "boot-0001"} | fields).encode()
    return await server.http.post(
        "/api/worker/session", content=body, headers={"Authorization": f"Bearer {token}"}
    )


@pytest.fixture
def asked(server, monkeypatch):
    """Return the hold times with which polls were held; each poll is answered at once."""
    seen = []
    wait = server.services.sessions.wait

    async def answered_at_once(session, *, hold_s, watch_peer):
        seen.append(hold_s)
        return await wait(session, hold_s=0.0, watch_peer=watch_peer)

    monkeypatch.setattr(server.services.sessions, "wait", answered_at_once)
    return seen


async def test_a_poll_is_held_for_no_longer_than_the_worker_asks(server, press, asked):
    """Neither the first one that is held, whose length is random, nor those that follow."""
    for _ in range(4):
        assert (await poll(server, press, max_hold_s=2.5)).status_code == 200

    assert len(asked) == 3
    assert all(1.0 <= hold_s <= 2.5 for hold_s in asked)
    assert asked[-1] == 2.5


async def test_a_worker_cannot_request_a_longer_hold_than_the_servers(server, press, asked):
    """A larger number, or none, changes nothing."""
    for value in (1e300, None, 86_400):
        assert (await poll(server, press, max_hold_s=value)).status_code == 200

    assert max(asked) <= server.services.sessions.hold_s()


@pytest.mark.parametrize("value", [0, 0.999, -1, "2", [2], True])
async def test_an_impossible_hold_time_is_rejected(server, press, value):
    """Less than a second would make a Worker poll in a busy loop; anything but a number is rejected too."""
    answer = await asyncio.wait_for(poll(server, press, max_hold_s=value), 180)

    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")
