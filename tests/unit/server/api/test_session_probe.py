"""Probes: whether polls get through, checked without opening a session."""

import asyncio

import pytest

import lyftdata

GRANT = {"grant_type": "client_credentials"}


@pytest.fixture
async def ask(server, press):
    """Return a function that sends a poll as the Worker."""
    answer = await server.http.post("/oauth2/token", data=GRANT, auth=press)
    headers = {"Authorization": f"Bearer {answer.json()['access_token']}"}

    async def post(**body):
        return await server.http.post("/api/worker/session", json=body, headers=headers)

    return post


@pytest.mark.parametrize("kind", ["now", "held", "streamed"])
async def test_a_probe_opens_no_session(server, ask, kind):
    """The answer has the Server's version, which unproven callers do not get, and how long polls are held."""
    answer = await ask(probe=kind, max_hold_s=1)

    assert answer.status_code == 200
    assert answer.json() == {
        "session": "none",
        "hold_s": 25.0,
        "directives": [],
        "server_version": lyftdata.__version__,
    }
    assert server.services.sessions.find("press-01") is None


async def test_a_probe_needs_a_token(server):
    """No request of an unproven caller is held."""
    answer = await server.http.post("/api/worker/session", json={"probe": "held"})

    assert answer.status_code == 401
    assert lyftdata.__version__ not in answer.text


async def test_a_poll_without_boot_id_is_invalid(ask):
    """It does not count as a probe."""
    answer = await ask(host={})

    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")


async def test_held_probes_are_limited_and_answered_at_shutdown(server, ask):
    """Two for each Worker at once."""
    held = [asyncio.ensure_future(ask(probe="held")) for _ in range(2)]
    while server.services.session_probes.taken() < 2:
        await asyncio.sleep(0)
    refused = await ask(probe="streamed")
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "30")

    server.services.sessions.release_all()

    assert [answer.status_code for answer in await asyncio.gather(*held)] == [200, 200]
    assert server.services.session_probes.taken() == 0
