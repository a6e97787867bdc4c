"""Load shedding: requests that have queued too long get 503 with Retry-After, so that the rest are served."""

import asyncio

import pytest

from lyftdata.server.http.overload import NO_POLLS_AFTER_S, NO_TOKENS_AFTER_S, Overload


class Turns:
    """The turns of an event loop, by a clock that a test moves."""

    def __init__(self):
        self.now_s = 0.0
        self.count = 0
        self.overload = Overload(monotonic=lambda: self.now_s, count=self.counted)

    def counted(self):
        """Count a request that is shed."""
        self.count += 1


@pytest.fixture
async def turns():
    """Return turns that are watched."""
    made = Turns()
    made.overload.watch()
    yield made
    made.overload.end()


async def test_a_request_that_has_queued_for_a_second_is_shed(turns):
    """In a long turn the first requests are served and the last are not."""
    asked = []
    for _ in range(5):
        asked.append(turns.overload.should_shed(1.0))
        turns.now_s += 0.5

    assert asked == [False, False, False, True, True]
    assert turns.count == 2


async def test_polls_are_shed_later_than_token_requests(turns):
    """A connected Worker's poll is answered in a turn in which token requests are already shed."""
    turns.now_s = 3.0

    assert turns.overload.should_shed(NO_TOKENS_AFTER_S)
    assert not turns.overload.should_shed(NO_POLLS_AFTER_S)


async def test_each_turn_is_measured_separately(turns):
    """No request is shed because the turn before was long."""
    turns.now_s = 60.0
    assert turns.overload.should_shed(1.0)

    await asyncio.sleep(0.25)

    assert not turns.overload.should_shed(1.0)


async def test_no_request_is_shed_while_turns_are_not_watched():
    """Before the Server is ready and once it stops, the length of a turn means nothing."""
    turns = Turns()
    turns.now_s = 60.0
    assert not turns.overload.should_shed(1.0)


async def test_shed_workers_get_retry_after(server, press, monkeypatch):
    """Requests of Workers get 503 with Retry-After; proxies, operators and health checks are still answered."""
    token = (await server.token_by_key(*press)).json()["access_token"]
    monkeypatch.setattr(server.services.overload, "should_shed", lambda _after_s: True)

    asked = await server.token_by_key(*press)
    polled = await server.http.post(
        "/api/worker/session",
        json={"boot_id": "boot-0001"},
        headers={"Authorization": f"Bearer {token}"},
    )
    enrolled = await server.http.post("/oauth2/register", json={})

    for answer in (asked, polled, enrolled):
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")
        assert answer.json()["error"] == "temporarily_unavailable"
    assert (await server.verify(token)).status_code == 204
    assert (await server.sign_in())["Authorization"]
    assert (await server.http.get("/readyz")).status_code == 200


async def test_shed_requests_are_counted(server):
    """The counter shows operators that the Server is too small."""
    server.services.overload._count()

    assert "lyftdata_requests_shed_total 1.0" in (await server.http.get("/metrics")).text
