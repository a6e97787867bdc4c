"""Which repeated refusals raise alerts, and how these name the caller."""

import pytest
from tests.unit.server.admin.alerts.test_finder import found_alerts
from tests.unit.server.api.test_oauth_token import unknown_api_key

from lyftdata.core.identity_keys import generate_identity_key


async def test_a_worker_refused_three_times_is_shown_for_an_hour(server, admin, press):
    """Three refusals mean a wrong setting; the reference leads to the cause; after an hour the alert ends."""
    for _ in range(2):
        await server.token_by_key("press-01", "nonsense")
    refused = await server.token_by_key("press-01", "nonsense")
    assert await found_alerts(server, admin) == {("refused", refused.json()["reference"])}
    server.clock.forward(hours=1, seconds=1)
    assert await found_alerts(server, admin) == set()


async def refuse(server, worker_id, key="nonsense", *, times=3, address="203.0.113.5"):
    """Let a Worker be refused because of its key."""
    async with server.from_address(address) as http:
        form = {"grant_type": "client_credentials", "client_id": worker_id, "client_secret": key}
        for _ in range(times):
            server.clock.forward(seconds=10)
            await http.post("/oauth2/token", data=form)


async def titles(server):
    """Return the titles of the alerts about refusals."""
    return [c.title for c in await server.services.alerts.find() if c.kind == "refused"]


@pytest.mark.parametrize("how", ["token", "session", "ended session"])
async def test_an_accepted_worker_raises_no_alert(server, admin, press, how):
    """A token or a session since the refusals ends the alert; another refusal raises it again."""
    await refuse(server, "press-01")
    assert await titles(server) == ["press-01 at 203.0.113.5 was refused 3 times"]
    server.clock.forward(seconds=10)
    token = (await server.token_by_key(*press)).json()["access_token"]
    if how != "token":
        server.services.traces.forget("press-01")
        headers, poll = {"Authorization": f"Bearer {token}"}, {"boot_id": "boot-0001"}
        await server.http.post("/api/worker/session", json=poll, headers=headers)
        if how == "ended session":
            off = {"boot_id": "boot-0001", "sign_off": True}
            await server.http.post("/api/worker/session", json=off, headers=headers)
            await server.services.session_log.flush()

    assert await titles(server) == []
    await refuse(server, "press-01", times=1)
    assert await titles(server) == ["press-01 at 203.0.113.5 was refused 4 times"]


async def test_the_tokens_of_a_connected_worker_do_not_hide_a_second_host(server, admin, press):
    """Refusals of the same ID elsewhere stay visible while the first host continues."""
    token = (await server.token_by_key(*press)).json()["access_token"]
    headers = {"Authorization": f"Bearer {token}"}
    await server.http.post("/api/worker/session", json={"boot_id": "boot-0001"}, headers=headers)
    await refuse(server, "press-01")
    server.clock.forward(seconds=1)
    await server.token_by_key(*press)

    assert await titles(server) == ["press-01 at 203.0.113.5 was refused 3 times"]


async def test_there_is_one_alert_per_worker_and_cause(server, admin, press):
    """However many addresses there are; another cause is another alert, because its remedy differs."""
    for n in range(4):
        await refuse(server, "press-01", times=1, address=f"203.0.113.{n}")
    await refuse(server, "press-01", unknown_api_key())

    assert sorted(await titles(server)) == [
        "press-01 at 203.0.113.5 was refused 3 times",
        "press-01 at 4 addresses was refused 4 times",
    ]


async def test_an_alert_names_the_worker(server, admin):
    """Also an enrolled one, refused by its ID or by its name; unknown callers have one alert per address and cause."""
    worker_id, _ = await server.enrolled("binder-02")
    await refuse(server, worker_id)
    for _ in range(3):
        server.clock.forward(seconds=10)
        key = generate_identity_key()
        proof = server.proof(key, "binder-02", secret="x" * 40)
        await server.register(key, "binder-02", credential=proof)
    await refuse(server, "press-99", address="203.0.113.99")
    await refuse(server, "press-98", unknown_api_key(), address="203.0.113.99")

    assert sorted(await titles(server)) == [
        "203.0.113.99 was refused 3 times, as an unknown Worker",
        "203.0.113.99 was refused 3 times, as an unknown Worker",
        "binder-02 at 127.0.0.1 was refused 3 times",
        "binder-02 at 203.0.113.5 was refused 3 times",
    ]
