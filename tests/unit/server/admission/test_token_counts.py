"""How many tokens a Worker got in each hour."""

import pytest
from tests.builders import FakeClock

from lyftdata.server.admission.token_counts import TokenCounts
from lyftdata.store.errors import StoreError
from lyftdata.store.tables import token_counts

GRANT = {"grant_type": "client_credentials"}


@pytest.fixture
def written(monkeypatch):
    """Return what each write held, in place of the table."""
    found = []
    monkeypatch.setattr(token_counts, "add_counts", lambda _tx, counts: found.append(list(counts)))
    return found


def later(clock, **delta):
    """Let time pass; return the time."""
    clock.forward(**delta)
    return clock()


async def ask(server, press, times=1):
    """Get so many tokens."""
    for _ in range(times):
        assert (await server.http.post("/oauth2/token", data=GRANT, auth=press)).status_code == 200


async def counted(server, admin, **query):
    """Return what an operator sees: the total, and each hour with its tokens."""
    answer = await server.http.get("/api/workers/press-01/token-counts", params=query, headers=admin)
    assert answer.status_code == 200, answer.text
    found = answer.json()
    return found["total"], [(hour["at"][11:16], hour["tokens"]) for hour in found["hours"]]


async def test_each_token_is_counted_in_its_hour(server, admin, press):
    """At once, written or not, and a refused request is not counted."""
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
    """Of an enrolled Worker, whose requests take another way."""
    worker_id, key = await server.enrolled()
    await server.token_by_assertion(server.assertion(key, worker_id))

    answer = await server.http.get(f"/api/workers/{worker_id}/token-counts", headers=admin)

    assert answer.json()["total"] == 1


async def test_a_minute_of_tokens_is_one_write(server, press, written):
    """Not one a token, and none before the minute is over."""
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


async def test_counts_wait_for_a_database_that_does_not_answer(server, admin, press, monkeypatch, capsys):
    """None is lost or counted twice; beyond the bound the latest are dropped, and that is logged."""
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
    """Nothing of the deleted Worker is counted for one that is given its ID later."""
    await ask(server, press)
    await server.http.delete("/api/workers/press-01", headers=admin)
    await server.http.post("/api/workers", json={"name": "press-01", "id": "press-01"}, headers=admin)

    assert await counted(server, admin) == (0, [])


async def test_a_clock_that_is_set_back_counts_in_the_hour_that_it_shows(server, press):
    """Within a second, and not in one that has not begun."""
    counts, clock = TokenCounts(store=server.services.store), server.clock
    now = clock()
    counts.token_given(press[0], at=later(clock, hours=3))
    await counts.flush(now)
    counts.token_given(press[0], at=now)

    found = await counts.counts_of(press[0], since=now.replace(minute=0, second=0, microsecond=0))

    assert [(count.hour.hour, count.tokens) for count in found] == [(now.hour, 1), (now.hour + 3, 1)]


@pytest.mark.parametrize("within", ["59m", "31d", "720h1s", "yesterday", ""])
async def test_a_time_that_is_not_kept_is_rejected(server, admin, press, within):
    """From an hour to 30 days."""
    answer = await server.http.get(
        "/api/workers/press-01/token-counts", params={"within": within}, headers=admin
    )

    assert answer.status_code == 422
    assert (await counted(server, admin, within="720h"))[0] == 0


async def test_an_unknown_worker_has_no_counts(server, admin):
    """Not found, rather than none."""
    assert (await server.http.get("/api/workers/w-9/token-counts", headers=admin)).status_code == 404


async def test_counts_are_for_operators_alone(server, press):
    """A Worker cannot see how active another is, and metrics name no Worker."""
    await ask(server, press)

    assert (await server.http.get("/api/workers/press-01/token-counts")).status_code == 401
    assert "press-01" not in (await server.http.get("/metrics")).text
