"""Ephemeral Workers at several Servers: one that has left is removed everywhere, and one that is connected anywhere stays."""

import asyncio

from tests.behaviour.several_servers.test_enrollment_keys import issue
from tests.behaviour.several_servers.test_one_state import (
    connected,
    delete,
    new_worker,
    poll,
    token_of,
    until,
)

from lyftdata.core.identity_keys import generate_identity_key
from lyftdata.store.tables import workers


async def enrolled(server, secret, name="runner-1"):
    """Enroll at a Server with a key for ephemeral Workers; return the ID and a token."""
    key = generate_identity_key()
    proof = server.proof(key, name, secret=secret, jti=key.public.thumbprint)
    answer = await server.register(key, name, credential=proof)
    assert answer.json()["ephemeral"] is True, answer.text
    worker_id = answer.json()["client_id"]
    assertion = server.assertion(key, worker_id, jti=f"a-{worker_id}")
    return worker_id, (await server.token_by_assertion(assertion)).json()["access_token"]


def online(server, count):
    """Return a coroutine function that returns whether a Server counts this many connected Workers."""

    async def question():
        return server.services.sessions.online_count() == count

    return question


async def test_a_sign_off_at_another_server_removes_the_worker(start_server):
    """A load balancer may send the sign-off elsewhere: the entry is gone at every Server, and none counts the Worker as connected."""
    async with start_server() as first, start_server() as second, start_server() as third:
        worker_id, token = await enrolled(first, await issue(first, ephemeral=True))
        held = await connected(first, token)
        await until(online(third, 1), "the third knows of it")

        held.cancel()
        signed_off = await poll(second, token, sign_off=True)

        assert signed_off.json()["removed"] is True
        for server in (first, second, third):
            await until(lambda s=server: _is_gone(s, worker_id), "the entry is gone")
            await until(online(server, 0), "it is not counted")


async def _is_gone(server, worker_id):
    return server.services.directory.find_worker(worker_id) is None


async def test_a_sign_off_of_an_earlier_start_does_not_remove_a_worker_connected_elsewhere(two):
    """The Server that receives the sign-off may not know of the later start yet."""
    first, second = two
    worker_id, token = await enrolled(first, await issue(first, ephemeral=True))
    held = await connected(first, token, "boot-0002")

    signed_off = await poll(second, token, "boot-0001", sign_off=True)

    assert signed_off.json()["removed"] is False
    assert not held.done()
    held.cancel()
    assert await _entry(first, worker_id) is not None


async def _entry(server, worker_id):
    return await server.services.store.read(lambda conn: workers.find_worker(conn, worker_id))


async def test_a_worker_connected_to_another_server_is_not_absent(two):
    """The database decides at the moment of the removal; an absent Worker is removed once, although both Servers look."""
    first, second = two
    secret = await issue(first, ephemeral=True)
    here, token = await enrolled(first, secret, "here")
    away, _ = await enrolled(first, secret, "away")
    held = await connected(first, token)
    later = first.clock() + first.services.settings.ephemeral_leave_after * 3
    removed = await asyncio.gather(
        *(
            server.services.store.write(
                lambda tx, s=server: s.services.ephemeral_workers._remove_absent(
                    tx, worker_ids=[here, away], now=later
                )
            )
            for server in two
        )
    )

    assert sorted(removed) == [0, 1]
    assert await _entry(second, here) is not None
    assert await _entry(second, away) is None
    log = await first.services.audit_queries.list_page(limit=9, subject=f"worker:{away}")
    assert [event.action for event in log.items] == ["worker.left", "worker.enrolled"]
    held.cancel()


async def test_a_deleted_worker_that_was_connected_is_counted_at_no_server(start_server):
    """Its presence row is deleted with its entry, before its own Server can remove it; the other Servers still learn of it."""
    async with start_server() as first, start_server() as second, start_server() as third:
        held = await connected(first, await token_of(first, *await new_worker(first)))
        await until(online(third, 1), "the third knows of it")

        await delete(second)

        for server in (first, second, third):
            await until(online(server, 0), "it is not counted")
        await held
