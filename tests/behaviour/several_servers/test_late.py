"""Servers that were stopped or cut off for so long that the change log no longer has what their peers changed."""

import asyncio
import time
from datetime import timedelta

import pytest
from tests.behaviour.several_servers.test_one_state import (
    connected,
    delete,
    disable,
    has_stop_directive,
    new_worker,
    poll,
    revoke_key,
    token_of,
    until,
)
from tests.postgres import Cable

from lyftdata.store.change_feed import change_log, feed
from lyftdata.store.change_feed.feed import ReceivedChanges
from lyftdata.store.changes import Broadcast, Change


async def _prune_change_log(server):
    """Prune the whole change log, as happens to changes older than a quarter of an hour."""
    await server.services.store.write(lambda tx: change_log.prune(tx, older_than=timedelta(0)))


@pytest.mark.parametrize("withdraw", [disable, revoke_key, delete], ids=["disable", "revoke", "delete"])
async def test_a_withdrawal_missed_long_ago_takes_effect_when_a_server_returns(
    start_server, cable: Cable, database_url, withdraw
):
    """The change was pruned meanwhile: the Server reloads all state, and accepts nothing by its stale copy."""
    async with start_server() as first, start_server(url=cable.url(database_url)) as second:
        press = await new_worker(first)
        token = await token_of(first, *press)
        assert (await second.verify(token)).status_code == 204

        cable.cut()
        await until(lambda: _answers_503(second, token), "the Server knows that its copy is stale")
        await withdraw(first)
        await new_worker(first, "press-02")
        await _prune_change_log(first)
        await new_worker(first, "press-03")
        cable.restore()

        async def answered():
            status = (await second.verify(token)).status_code
            return status if status != 503 else None

        assert await until(answered, "the Server is back") == 401
        assert (await second.token_by_key(*press)).status_code in {400, 401}
        assert second.services.directory.find_worker("press-03") is not None


async def test_a_session_ends_for_a_change_that_was_never_received(two):
    """A Worker connected to the late Server gets the directive as if the Server had received the change."""
    first, second = two
    press = await new_worker(first)
    token = await token_of(first, *press)
    held = await connected(second, token)
    feed = second.services.store._change_feed

    # As if it had stopped at a row that is gone by now.
    await new_worker(first, "press-02")
    feed._on_change, applied = _nothing, feed._on_change
    await disable(first)
    await until(lambda: _has_caught_up_with(second, first), "the second reads, and hands nothing on")
    await new_worker(first, "press-03")
    await _prune_change_log(first)
    await until(lambda: _has_caught_up_with(second, first), "the second has read the last")
    feed._on_change = applied

    async def has_ended():
        nonlocal held
        # Each time, since a query that began before moves it forward again.
        feed._position = change_log.Cursor(1)
        if held.done() and not has_stop_directive(held):
            # Its hold time ended before the change was applied: the Worker polls again.
            held = poll(second, token)
        return has_stop_directive(held)

    await until(has_ended, "the session has ended")
    if held.result().status_code == 200:
        [directive] = held.result().json()["directives"]
        assert (directive["kind"], directive["code"]) == ("stop", "worker_disabled")


def _nothing(_changes):
    """Apply nothing."""


async def _answers_503(server, token):
    return (await server.verify(token)).status_code == 503


async def _has_caught_up_with(server, other):
    last = await other.services.store.read(change_log.position)
    return server.services.store._change_feed._position == last


@pytest.mark.parametrize("is_reached_again", [False, True])
async def test_change_numbers_that_went_back_are_noticed(two, cluster, database_url, is_reached_again):
    """A standby took over without the last changes, whether or not its numbers have reached the same value again."""
    first, second = two
    press = await new_worker(first)
    token = await token_of(first, *press)
    assert (await second.verify(token)).status_code == 204
    await until(lambda: _has_caught_up_with(second, first), "the second has read the last")

    reached = second.services.store._change_feed._position.number
    number = reached if is_reached_again else 1
    cluster.execute(
        "TRUNCATE changes RESTART IDENTITY;"
        f"INSERT INTO changes (seq, server_id, kind, key) VALUES ({number}, '', 'worker', 'press-01');"
        f"SELECT setval('changes_seq_seq', {number});"
        "UPDATE workers SET enabled = false, epoch = epoch + 1",
        database=database_url.rpartition("/")[2],
    )

    await until(lambda: _is_refused(second, token), "the second knows")


async def _is_refused(server, token):
    return (await server.verify(token)).status_code == 401


async def test_a_change_that_is_read_twice_is_applied_once(two):
    """Two concurrent reads may return the same failed sign-ins, which must not count twice against an operator."""
    first, second = two
    feed = second.services.store._change_feed
    feed._ended.set()
    await asyncio.to_thread(feed._thread.join)
    applied: list[Change] = []
    feed._on_change = applied.extend
    before = feed._position

    def read(conn):
        return ReceivedChanges(change_log.read(conn, after=before), before, 0.0)

    await first.services.store.write(lambda tx: tx.changed(Broadcast("typed", {"n": 1})))
    early = await second.services.store.read(read)
    await first.services.store.write(lambda tx: tx.changed(Broadcast("typed", {"n": 2})))
    late = await second.services.store.read(read)
    for received in (early, late):
        feed.apply_received(received)
    await asyncio.sleep(0)

    received_bodies = [
        change.body for change in applied if isinstance(change, Broadcast) and change.topic == "typed"
    ]
    assert received_bodies == [{"n": 1}, {"n": 2}]


async def test_a_server_whose_connections_hang_recovers_with_new_ones(
    start_server, cable: Cable, database_url
):
    """A middlebox accepted its data and never answers: the Server does not wait for ever."""
    async with start_server() as first, start_server(url=cable.url(database_url)) as second:
        press = await new_worker(first)
        token = await token_of(first, *press)
        await disable(first)
        await until(lambda: _is_refused(second, token), "the second knows, by its own line for questions")

        cable.cut()
        await until(lambda: _answers_503(second, token), "the Server knows that its copy is stale")
        cable.restore_for_new_connections()

        async def is_back():
            is_fresh = second.services.store.is_current()
            return is_fresh and (await second.verify(token)).status_code == 401

        async with asyncio.timeout(180):
            while not await is_back():
                await asyncio.sleep(0.05)
        # Its writer and readers still hang, as /readyz shows; closing the path ends them, so that they do not delay the stop.
        cable.close()


async def test_state_read_before_the_host_slept_is_stale(two, monkeypatch):
    """Its age is measured by a clock that runs on while the host sleeps, if the system has one."""
    _, second = two
    assert getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC) == feed._CLOCK
    await until(lambda: _is_current(second), "it is current")
    read = time.clock_gettime

    monkeypatch.setattr(time, "clock_gettime", lambda clock: read(clock) + 3_600 * (clock == feed._CLOCK))

    assert not second.services.store.is_current()
    await until(lambda: _is_current(second), "it asks, and is current again")


async def _is_current(server):
    return server.services.store.is_current()
