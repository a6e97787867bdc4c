"""Origins of token requests with several Servers: they are compared with a Worker's session at any Server."""

import asyncio

GRANT = {"grant_type": "client_credentials"}
HOME, AWAY = "198.51.100.7", "203.0.113.9"


async def test_a_token_request_at_one_server_is_compared_with_the_session_at_another(two):
    """The Server that holds the session records the mismatch, and both Servers show both addresses."""
    first, second = two
    admin = await first.sign_in()
    body = {"name": "press-01", "id": "press-01", "issue_key": True}
    answer = await first.http.post("/api/workers", json=body, headers=admin)
    press = ("press-01", answer.json()["api_key"]["key"])
    async with first.from_address(HOME) as home, second.from_address(AWAY) as away:
        token = (await home.post("/oauth2/token", data=GRANT, auth=press)).json()["access_token"]
        headers, poll = {"Authorization": f"Bearer {token}"}, {"boot_id": "boot-0001"}
        assert (await home.post("/api/worker/session", json=poll, headers=headers)).status_code == 200
        async with asyncio.timeout(180):
            while second.services.sessions.find("press-01") is None:
                await asyncio.sleep(0.01)
        held = asyncio.ensure_future(home.post("/api/worker/session", json=poll, headers=headers))
        assert (await away.post("/oauth2/token", data=GRANT, auth=press)).status_code == 200
        async with asyncio.timeout(180):
            await second.services.origin_watch.flush()
            # Answered early, since the other Server has asked where the Worker is.
            assert (await held).status_code == 200
        held = asyncio.ensure_future(home.post("/api/worker/session", json=poll, headers=headers))
        async with asyncio.timeout(180):
            while (session := first.services.sessions.find_here("press-01")) is None or session.poll is None:
                await asyncio.sleep(0.01)
        first.services.sessions.ask_to_poll_again("press-01")
        assert (await held).status_code == 200

    await first.services.token_origins.flush()
    shown = [await addresses(server) for server in (second, first)]
    assert (AWAY, HOME) in shown[0]
    assert shown[1] == {(HOME, None), (AWAY, HOME)}


async def addresses(server):
    """Return the addresses of token requests, each with the address of the session if that was another one."""
    headers = await server.sign_in()
    answer = await server.http.get("/api/workers/press-01/token-origins", headers=headers)
    return {(origin["address"], origin["session_address"]) for origin in answer.json()["items"]}


async def test_a_worker_that_polls_from_two_networks_at_two_servers_has_both(two):
    """Each Server remembers from where this boot has polled at the other one: a token from there is not suspicious."""
    first, second = two
    body = {"name": "press-01", "id": "press-01", "issue_key": True}
    answer = await first.http.post("/api/workers", json=body, headers=await first.sign_in())
    press = ("press-01", answer.json()["api_key"]["key"])
    poll = {"boot_id": "boot-0001", "max_hold_s": 1}
    async with first.from_address(HOME) as home, second.from_address(AWAY) as away:
        token = (await home.post("/oauth2/token", data=GRANT, auth=press)).json()["access_token"]
        headers = {"Authorization": f"Bearer {token}"}
        assert (await home.post("/api/worker/session", json=poll, headers=headers)).status_code == 200
        await until_connected(second, from_address=HOME)
        assert (await away.post("/api/worker/session", json=poll, headers=headers)).status_code == 200
        await until_connected(first, from_address=AWAY)

    earlier = [server.services.sessions.find("press-01").earlier_networks for server in two]
    assert earlier == [("198.51.100.0/24",)] * 2


async def until_connected(server, *, from_address):
    """Wait until a Server knows that the Worker is connected from an address."""
    async with asyncio.timeout(180):
        while (
            session := server.services.sessions.find("press-01")
        ) is None or session.boot.address != from_address:
            await asyncio.sleep(0.01)
