"""More is asked than can be answered: who stands far behind is told to come back, and the rest are served."""

import asyncio

import pytest

from lyftdata.server.http.overload import NO_POLLS_AFTER_S, NO_TOKENS_AFTER_S, Overload


class Turns:
    """An event loop's turns, by a clock that a test moves."""

    def __init__(self):
        self.now_s = 0.0
        self.count = 0
        self.overload = Overload(monotonic=lambda: self.now_s, count=self.counted)

    def counted(self):
        """Count a request that is turned away."""
        self.count += 1


@pytest.fixture
async def turns():
    """Return turns that are being watched."""
    made = Turns()
    made.overload.watch()
    yield made
    made.overload.end()


async def test_a_request_that_has_queued_for_a_second_is_shed(turns):
    """The first of a long turn are served, the last are not."""
    asked = []
    for _ in range(5):
        asked.append(turns.overload.should_shed(1.0))
        turns.now_s += 0.5

    assert asked == [False, False, False, True, True]
    assert turns.count == 2


async def test_who_has_a_token_is_borne_with_for_longer(turns):
    """A connected Worker's poll is answered in a turn in which no tokens are given any more."""
    turns.now_s = 3.0

    assert turns.overload.should_shed(NO_TOKENS_AFTER_S)
    assert not turns.overload.should_shed(NO_POLLS_AFTER_S)


async def test_the_next_turn_starts_over(turns):
    """Nobody is turned away for how long the turn before has taken."""
    turns.now_s = 60.0
    assert turns.overload.should_shed(1.0)

    await asyncio.sleep(0.25)

    assert not turns.overload.should_shed(1.0)


async def test_unwatched_it_turns_nobody_away():
    """Before the Server is ready, and once it stops, its turns say nothing."""
    turns = Turns()
    turns.now_s = 60.0
    assert not turns.overload.should_shed(1.0)


async def test_workers_are_told_when_to_come_back(server, press, monkeypatch):
    """503 with Retry-After for what Workers ask; proxies, operators and probes are answered."""
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
    """Operators see by a counter that this Server is too small."""
    server.services.overload._count()

    assert "lyftdata_requests_shed_total 1.0" in (await server.http.get("/metrics")).text
