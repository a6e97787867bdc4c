"""Worker slots: which start of a Worker is connected where, in the database and at each Server."""

import asyncio
import threading

import pytest
from tests.behaviour.several_servers.test_one_state import (
    code_of,
    connected,
    has_stop_directive,
    new_worker,
    poll,
    token_of,
    until,
)

from lyftdata.core.identity_keys import generate_identity_key
from lyftdata.core.records import PresenceRecord, PresenceState
from lyftdata.server.runtime import background
from lyftdata.store.tables import presence


async def _row_of(server, worker_id="press-01"):
    return await server.services.store.read(lambda conn: presence.find(conn, worker_id))


async def _declare_dead(server, silent):
    """Make a Server declare another one dead, as if its heartbeat were too old."""

    def op(tx):
        tx.conn.exec_driver_sql("DELETE FROM servers WHERE id = %s", (silent.services.store.server_id,))

    await server.services.store.write(op)
    await server.services.cluster.send_heartbeat()


async def test_workers_of_a_server_that_was_declared_dead_too_soon_stay_connected(start_server, monkeypatch):
    """The Server was only held up for some seconds: its Workers keep their slots and their names."""
    monkeypatch.setattr(background, "_BEAT_EVERY_S", 3_600)
    async with start_server() as first, start_server() as second:
        worker_id, key = await first.enrolled("press")
        token = (await first.token_by_assertion(first.assertion(key, worker_id))).json()["access_token"]
        held = await connected(second, token)

        await _declare_dead(first, second)
        await second.services.cluster.send_heartbeat()

        async def is_back():
            row = await _row_of(first, worker_id)
            return row.state is PresenceState.CONNECTED and row.server_id == second.services.store.server_id

        await until(is_back, "its place is taken back")
        await until(lambda: _is_online(first, worker_id), "the first learns of it")
        assert code_of(await poll(first, token, "boot-clone")) == "duplicate_instance"
        refused = await first.register(generate_identity_key(), "press")
        assert (refused.status_code, code_of(refused)) == (409, "name_in_use")
        assert not has_stop_directive(held)
        held.cancel()


async def test_a_slot_that_was_removed_meanwhile_is_written_again(start_server, monkeypatch):
    """The Server was held up for longer than its Workers are awaited."""
    monkeypatch.setattr(background, "_BEAT_EVERY_S", 3_600)
    async with start_server() as first, start_server() as second:
        held = await connected(second, await token_of(first, *await new_worker(first)))

        await _declare_dead(first, second)
        await first.services.store.write(
            lambda tx: presence.remove(tx, ["press-01"], server_id=second.services.store.server_id)
        )

        async def is_back():
            row = await _row_of(first)
            return row is not None and row.state is PresenceState.CONNECTED

        await until(is_back, "it is written down again")
        held.cancel()


async def _is_online(server, worker_id):
    return server.services.sessions.is_online(worker_id)


async def test_the_start_that_was_accepted_holds_the_slot(two):
    """Of two concurrent starts at one Server, the refused one does not hold the slot at the other Servers."""
    first, second = two
    token = await token_of(first, *await new_worker(first))

    boots = ["boot-aaaa", "boot-bbbb"]
    answers = dict(
        zip(boots, await asyncio.gather(*(poll(first, token, boot) for boot in boots)), strict=True)
    )

    assert sorted(answer.status_code for answer in answers.values()) == [200, 409]
    [let_in] = [boot for boot, answer in answers.items() if answer.status_code == 200]
    [refused] = [boot for boot in boots if boot != let_in]
    assert (await _row_of(first)).boot_id == let_in
    await until(lambda: _is_online(second, "press-01"), "the second learns of it")
    assert (await poll(second, token, refused)).status_code == 409
    moved = poll(second, token, let_in)
    await until(lambda: _holds(second), "it goes on at the second")
    moved.cancel()


async def _holds(server):
    return any(session.poll is not None for session in server.services.sessions)


async def test_a_worker_that_connects_endlessly_causes_one_write_at_a_time(two, monkeypatch):
    """A valid credential does not let it fill the writer's queue ahead of all other decisions."""
    first, _ = two
    token = await token_of(first, *await new_worker(first))
    under_way, most = 0, 0
    write = first.services.store.write_batched

    async def counted(op, item):
        nonlocal under_way, most
        is_place = isinstance(item, PresenceRecord)
        under_way += is_place
        most = max(most, under_way)
        try:
            return await write(op, item)
        finally:
            under_way -= is_place

    monkeypatch.setattr(first.services.store, "write_batched", counted)
    answers = await asyncio.gather(*(poll(first, token, f"boot-{n:04}") for n in range(100)))

    assert most == 1
    # On a slow machine the first session may have ended before the last of the hundred arrives, which is then accepted too.
    assert 200 in {answer.status_code for answer in answers} <= {200, 409, 503}


async def test_a_worker_that_signs_off_while_a_server_starts_is_offline_there_too(start_server, monkeypatch):
    """The Server has read the connected Workers, and receives the sign-off before it has applied them: the sign-off counts."""
    loop = asyncio.get_running_loop()
    read = presence.list_all
    async with start_server() as first:
        token = await token_of(first, *await new_worker(first))
        assert (await poll(first, token)).status_code == 200

        async def leave():
            body = {"boot_id": "boot-0001", "sign_off": True}
            headers = {"Authorization": f"Bearer {token}"}
            await first.http.post("/api/worker/session", json=body, headers=headers)
            await first.services.cluster.flush()

        def end_session_directly(conn):
            found = list(read(conn))
            asyncio.run_coroutine_threadsafe(leave(), loop).result(180)
            # Time for the notification to arrive first, if the Server listens for it by now.
            threading.Event().wait(1)
            return found

        monkeypatch.setattr(presence, "list_all", end_session_directly)
        async with start_server() as second:
            monkeypatch.setattr(presence, "list_all", read)
            await until(lambda: _is_offline(second), "the second knows of it")
            await second.services.store.refresh(full=True)
            assert not second.services.sessions.is_online("press-01")


async def _is_offline(server):
    return not await _is_online(server, "press-01")


@pytest.mark.parametrize("at_the_same_server", [True, False])
async def test_a_waiting_start_is_connected_as_soon_as_the_previous_one_signs_off(
    start_server, at_the_same_server
):
    """As in a rolling update: the sign-off itself answers the waiting poll, whichever Server each of them is at."""
    async with start_server() as first, start_server() as second:
        at = first if at_the_same_server else second
        token = await token_of(first, *await new_worker(first))
        held = await connected(at, token)
        await until(lambda: _is_online(first, "press-01"), "the first Server knows")

        assert (await poll(first, token, "boot-next")).status_code == 409
        waiting = poll(first, token, "boot-next", await_slot=True)
        await until(lambda: _is_waiting(first), "the next start waits")
        assert not waiting.done()
        assert (await poll(at, token, sign_off=True)).json()["session"] == "ended"

        answer = await waiting
        assert (answer.status_code, answer.json()["session"]) == (200, "established")
        await held


async def test_a_worker_that_signs_off_at_another_server_is_offline_at_once(two):
    """A load balancer may send the sign-off to any Server; the Worker's session has ended by it, and is not lost."""
    first, second = two
    token = await token_of(first, *await new_worker(first))
    held = await connected(first, token)
    await until(lambda: _is_online(second, "press-01"), "the second Server knows")

    assert (await poll(second, token, "boot-other", sign_off=True)).json()["session"] == "ended"
    assert await _is_online(second, "press-01")
    assert (await poll(second, token, sign_off=True)).json()["session"] == "ended"

    assert not await _is_online(second, "press-01")
    await until(lambda: _is_offline(first), "the first Server learns of it")
    await held
    for server in two:
        await server.services.session_log.flush()
    shown = await first.http.get("/api/workers/press-01/sessions", headers=await first.sign_in())
    assert [(one["end"], one["host"]) for one in shown.json()["items"]] == [
        ("signed_off", {"hostname": "boot-0001"})
    ]
    assert await _row_of(first) is None


async def test_a_worker_whose_polls_alternate_between_servers_is_logged_as_connected_once(
    start_server, capsys
):
    """Each Server logs which Workers connect and disconnect, and a session that moves does neither."""
    logged = {"LYFTDATA_LOG_DECISIONS": "yes"}
    async with start_server(**logged) as first, start_server(**logged) as second:
        token = await token_of(first, *await new_worker(first))
        assert (await poll(first, token)).status_code == 200
        for server, other in ((second, first), (first, second)):
            await until(lambda server=server: _is_online(server, "press-01"), "it knows of the session")
            assert (await poll(server, token, max_hold_s=1)).status_code == 200
            await until(lambda other=other: _has_no_session(other), "the session has moved")
        await poll(first, token, sign_off=True)
        await until(lambda: _is_offline(second), "the second Server learns of it")

    out = capsys.readouterr().out
    assert (out.count("worker_online"), out.count("worker_offline")) == (1, 1)


async def test_a_worker_that_moves_between_servers_still_learns_that_its_labels_have_changed(two):
    """The Server that it has left could not say so any more; the other one does, once for each token."""
    first, second = two
    token = await token_of(first, *await new_worker(first))
    assert (await poll(first, token)).status_code == 200
    await until(lambda: _is_online(second, "press-01"), "the second Server knows of it")
    changed = await first.http.patch(
        "/api/workers/press-01", json={"labels": {"zone": "eu"}}, headers=await first.sign_in()
    )
    assert changed.status_code == 200, changed.text
    await second.services.store.refresh(full=True)

    answers = [await poll(second, token, max_hold_s=1) for _ in range(2)]

    found = [[one["kind"] for one in answer.json()["directives"]] for answer in answers]
    assert found == [["renew"], []]


async def _has_no_session(server):
    return server.services.sessions.find_here("press-01") is None


async def _is_waiting(server):
    return bool(server.services.sessions._slots._waiting)
