"""How many tokens a Worker got in each hour."""

import pytest
from tests.builders import FakeClock

from lyftdata.server.admission.token_counts import TokenCounts
from lyftdata.store.errors import StoreError
from lyftdata.store.tables import token_counts

GRANT = {"grant_type": "client_credentials"}


@pytest.fixture
def written(monkeypatch):
    """Return the counts of each write; the table is not written."""
    found = []
    monkeypatch.setattr(token_counts, "add_counts", lambda _tx, counts: found.append(list(counts)))
    return found


def later(clock, **delta):
    """Let time pass; return the new time."""
    clock.forward(**delta)
    return clock()


async def ask(server, press, times=1):
    """Get so many tokens."""
    for _ in range(times):
        assert (await server.http.post("/oauth2/token", data=GRANT, auth=press)).status_code == 200


async def counted(server, admin, **query):
    """Return what operators see: the total, and the tokens of each hour."""
    answer = await server.http.get("/api/workers/press-01/token-counts", params=query, headers=admin)
    assert answer.status_code == 200, answer.text
    found = answer.json()
    return found["total"], [(hour["at"][11:16], hour["tokens"]) for hour in found["hours"]]


async def test_each_token_is_counted_in_its_hour(server, admin, press):
    """At once, whether written or not; a refused request is not counted."""
    server.clock.now = server.clock.now.replace(hour=12, minute=59, second=59)
    await ask(server, press, 3)
    server.clock.forward(seconds=1)
    await ask(server, press, 2)
    assert (
        await server.http.post("/oauth2/token", data=GRANT, auth=("press-01", "wrong"))
    ).status_code == 401

    assert await counted(server, admin) == (5, [("12:00", 3), ("13:00", 2)])
    for _ in range(2):
        await server.services.token_counts.flush(later(server.clock, minutes=1))
        assert await counted(server, admin) == (5, [("12:00", 3), ("13:00", 2)])
    server.clock.forward(hours=1)
    assert await counted(server, admin, within="1h") == (2, [("13:00", 2)])


async def test_a_token_by_assertion_is_counted(server, admin):
    """Requests of enrolled Workers are handled elsewhere."""
    worker_id, key = await server.enrolled()
    await server.token_by_assertion(server.assertion(key, worker_id))

    answer = await server.http.get(f"/api/workers/{worker_id}/token-counts", headers=admin)

    assert answer.json()["total"] == 1


async def test_the_tokens_of_a_minute_are_one_write(server, press, written):
    """Not one per token, and none before the minute is over."""
    counts, clock = server.services.token_counts, server.clock
    await ask(server, press, 20)
    await counts.flush(later(clock, seconds=59))
    assert written == []

    await counts.flush(later(clock, seconds=1))
    await counts.flush(later(clock, minutes=5))

    assert [[count.tokens for count in part] for part in written] == [[20]]


async def test_one_flush_writes_a_bounded_number_of_counts(server, written):
    """However many Workers there are; the rest follows a second later."""
    counts, clock = TokenCounts(store=server.services.store), FakeClock()
    for number in range(3_000):
        counts.token_given(f"w-{number}", at=clock())

    clock.forward(minutes=1)
    await counts.flush(clock())
    first = sum(map(len, written))
    await counts.flush(clock())

    assert (first, sum(map(len, written))) == (2_000, 3_000)


async def test_counts_are_kept_while_the_database_does_not_answer(server, admin, press, monkeypatch, capsys):
    """No count is lost or counted twice; beyond the limit the latest are dropped, which is logged."""
    counts, clock = server.services.token_counts, server.clock
    await ask(server, press, 2)

    def fail(_tx, counts):
        raise StoreError("The database does not answer.")

    with monkeypatch.context() as patch:
        patch.setattr(token_counts, "add_counts", fail)
        for _ in range(2):
            with pytest.raises(StoreError):
                await counts.flush(later(clock, minutes=1))
    await counts.flush(clock())
    assert (await counted(server, admin))[0] == 2

    small = TokenCounts(store=server.services.store, max_pending=1)
    for worker_id in ("w-1", "w-2", "w-2"):
        small.token_given(worker_id, at=later(clock, minutes=1))
    await small.flush(later(clock, minutes=1))
    assert "token_counts_dropped" in "".join(capsys.readouterr())


async def test_counts_survive_a_restart(opened):
    """Also those of the last minute."""
    async with opened() as server:
        admin = await server.sign_in()
        body = {"name": "press-01", "id": "press-01", "issue_key": True}
        key = (await server.http.post("/api/workers", json=body, headers=admin)).json()["api_key"]["key"]
        await ask(server, ("press-01", key), 2)
    async with opened(server.clock) as server:
        assert (await counted(server, await server.sign_in()))[0] == 2


async def test_a_worker_added_again_starts_from_zero(server, admin, press):
    """Tokens of a deleted Worker are not counted for a new one with the same ID."""
    await ask(server, press)
    await server.http.delete("/api/workers/press-01", headers=admin)
    await server.http.post("/api/workers", json={"name": "press-01", "id": "press-01"}, headers=admin)

    assert await counted(server, admin) == (0, [])


async def test_tokens_count_in_the_hour_that_a_clock_shows_after_it_was_set_back(server, press):
    """Not in a later hour that has not begun."""
    counts, clock = TokenCounts(store=server.services.store), server.clock
    now = clock()
    counts.token_given(press[0], at=later(clock, hours=3))
    await counts.flush(now)
    counts.token_given(press[0], at=now)

    found = await counts.counts_of(press[0], since=now.replace(minute=0, second=0, microsecond=0))

    assert [(count.hour.hour, count.tokens) for count in found] == [(now.hour, 1), (now.hour + 3, 1)]


@pytest.mark.parametrize("within", ["59m", "31d", "720h1s", "yesterday", ""])
async def test_a_period_for_which_no_counts_are_kept_is_rejected(server, admin, press, within):
    """It must be from an hour to 30 days."""
    answer = await server.http.get(
        "/api/workers/press-01/token-counts", params={"within": within}, headers=admin
    )

    assert answer.status_code == 422
    assert (await counted(server, admin, within="720h"))[0] == 0


async def test_an_unknown_worker_has_no_counts(server, admin):
    """The answer is 404, not an empty list."""
    assert (await server.http.get("/api/workers/w-9/token-counts", headers=admin)).status_code == 404


async def test_only_operators_can_read_counts(server, press):
    """A Worker cannot see how active another is, and metrics name no Worker."""
    await ask(server, press)

    assert (await server.http.get("/api/workers/press-01/token-counts")).status_code == 401
    assert "press-01" not in (await server.http.get("/metrics")).text
