"""Draining a Server while a peer is alive: its Workers move to the peer, and no caller gets an error."""

import asyncio
import contextlib

from tests.behaviour.several_servers.test_one_state import connected, new_worker, poll, token_of, until

from lyftdata.server.cluster import membership
from lyftdata.server.runtime import background


@contextlib.asynccontextmanager
async def draining(server):
    """Drain a Server during the block, as at SIGTERM; at its end the Server is drained."""
    task = asyncio.create_task(server.services.drain.run(open_requests=lambda: 0, end_streams=lambda: None))
    await until(lambda: _has_begun(server), "it drains")
    yield
    await asyncio.wait_for(task, 180)


async def _has_begun(server):
    return server.services.drain.has_begun


async def _is_at(server, worker_id):
    return server.services.sessions.find_here(worker_id) is not None


async def test_only_readyz_changes_until_the_shutdown_delay_is_over(start_server):
    """`/readyz` is 404, with which HAProxy sends no new requests; everything else works until the delay is over."""
    async with start_server() as first, start_server(LYFTDATA_SHUTDOWN_DELAY="10m") as second:
        worker = await new_worker(first)
        await until(lambda: _knows(second, worker[0]), "the other knows the Worker")
        token = await token_of(second, *worker)
        held = await connected(second, token)
        async with draining(second):
            ready = await second.http.get("/readyz")
            assert (ready.status_code, ready.text) == (404, "stopping\n")
            assert (await second.http.get("/healthz")).status_code == 200
            assert (await first.http.get("/readyz")).status_code == 200
            assert (await second.token_by_key(*worker)).status_code == 200
            assert not held.done()

            second.services.drain.hurry()
            assert (await held).status_code == 200
            assert (await poll(first, token)).status_code == 200


async def _knows(server, worker_id):
    return server.services.directory.find_worker(worker_id) is not None


async def test_a_held_poll_is_answered_normally_and_its_session_continues_at_a_peer(start_server):
    """The Worker stays online. If its next poll reaches the draining Server, the 503 makes a proxy try another one."""
    async with start_server() as first, start_server(LYFTDATA_SHUTDOWN_DELAY="0s") as second:
        worker = await new_worker(first)
        await until(lambda: _knows(second, worker[0]), "the other knows the Worker")
        token = await token_of(second, *worker)
        held = await connected(second, token)
        await until(lambda: _is_online(first, worker[0]), "the other knows that it is connected")
        since = second.services.sessions.find_here(worker[0]).since
        async with draining(second):
            answer = await held
            assert (answer.status_code, answer.json()["directives"]) == (200, [])
            again = await poll(second, token)
            assert (again.status_code, again.headers["Retry-After"]) == (503, "1")
            assert all(server.services.sessions.is_online(worker[0]) for server in (first, second))

            assert (await poll(first, token)).status_code == 200
        assert await _is_at(first, worker[0])
        assert not await _is_at(second, worker[0])
        assert first.services.sessions.find_here(worker[0]).since == since
        [session] = await first.services.session_log.sessions_of(worker[0])
        assert session.ended_at is None


async def test_a_worker_that_connects_to_a_draining_server_moves_on_too(start_server):
    """Its first poll is answered as usual, and the next one is not held."""
    async with start_server() as first, start_server(LYFTDATA_SHUTDOWN_DELAY="0s") as second:
        staying = await new_worker(first, "press-01")
        coming = await new_worker(first, "press-02")
        await until(lambda: _knows(second, coming[0]), "the other knows the Workers")
        tokens = [await token_of(first, *worker) for worker in (staying, coming)]
        held = await connected(second, tokens[0])
        async with draining(second):
            await held
            assert (await poll(second, tokens[1])).status_code == 200
            assert (await poll(second, tokens[1])).status_code == 200
            assert [(await poll(first, token)).status_code for token in tokens] == [200, 200]


async def test_a_server_without_peers_does_not_wait(start_server):
    """Its Workers have nowhere to go; `/readyz` still fails."""
    async with start_server(LYFTDATA_SHUTDOWN_DELAY="10m") as only:
        worker = await new_worker(only)
        held = await connected(only, await token_of(only, *worker))
        async with draining(only):
            pass
        assert (await only.http.get("/readyz")).status_code == 404
        assert not held.done()
        only.services.sessions.release_all()
        assert (await held).status_code == 503


async def test_only_peers_that_run_now_are_waited_for(start_server, monkeypatch):
    """One that has just started counts, and one that has just stopped does not, without waiting for a heartbeat."""
    monkeypatch.setattr(background, "_BEAT_EVERY_S", 86_400.0)
    async with start_server() as first:
        assert not await first.services.cluster.has_live_peers()
        async with start_server() as second:
            assert await first.services.cluster.has_live_peers()
            assert await second.services.cluster.has_live_peers()

        assert not await first.services.cluster.has_live_peers()


async def test_a_server_that_cannot_reach_the_database_does_not_wait(
    start_server, cable, database_url, monkeypatch
):
    """It cannot know of a peer, and has released its polls by then."""
    async with start_server(), start_server(url=cable.url(database_url)) as cut_off:
        assert await cut_off.services.cluster.has_live_peers()
        monkeypatch.setattr(membership, "PEERS_FOUND_WITHIN_S", 0.1)
        cable.cut()
        assert not await cut_off.services.cluster.has_live_peers()
        cable.restore()


async def test_servers_that_stop_together_do_not_wait_for_each_other(start_server):
    """These are the processes of one Server: a Worker that left one would find the next one stopping too."""
    async with start_server(LYFTDATA_SHUTDOWN_DELAY="10m") as first, start_server() as second:
        siblings = [second.services.store.server_id]
        assert await first.services.cluster.has_live_peers()

        await first.services.drain.run(
            open_requests=lambda: 0, end_streams=lambda: None, leaving_too=siblings
        )

        assert first.services.drain.has_begun
        async with start_server():
            assert await first.services.cluster.has_live_peers(besides=siblings)


async def test_a_worker_that_moves_is_never_shown_offline(two, monkeypatch):
    """Not even at the Server that it moves to, between the row in the database and the session in memory."""
    first, second = two
    worker = await new_worker(first)
    await until(lambda: _knows(second, worker[0]), "the other knows the Worker")
    token = await token_of(first, *worker)
    assert (await poll(first, token)).status_code == 200
    await until(lambda: _is_online(second, worker[0]), "the other knows that it is connected")
    sessions = second.services.sessions
    set_remote_session = sessions.set_remote_session
    seen = []

    def noted(worker_id, session):
        set_remote_session(worker_id, session)
        seen.append(sessions.is_online(worker_id))

    monkeypatch.setattr(sessions, "set_remote_session", noted)
    moved = poll(second, token)
    await until(lambda: _is_at(second, worker[0]), "it has moved")

    assert all(seen)
    second.services.sessions.release_all()
    await moved


async def _is_online(server, worker_id):
    return server.services.sessions.is_online(worker_id)
