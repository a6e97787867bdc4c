"""Ephemeral Workers at several Servers: one that has left is gone at each, and none is removed that is connected to any."""

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
    """Enroll at a Server by a key for ephemeral Workers; return the ID and a token."""
    key = generate_identity_key()
    proof = server.proof(key, name, secret=secret, jti=key.public.thumbprint)
    answer = await server.register(key, name, credential=proof)
    assert answer.json()["ephemeral"] is True, answer.text
    worker_id = answer.json()["client_id"]
    assertion = server.assertion(key, worker_id, jti=f"a-{worker_id}")
    return worker_id, (await server.token_by_assertion(assertion)).json()["access_token"]


def online(server, count):
    """Return a question whether so many Workers are connected, according to a Server."""

    async def question():
        return server.services.sessions.online_count() == count

    return question


async def test_a_sign_off_at_another_server_removes_the_worker(start_server):
    """A load balancer sends it elsewhere: the entry is gone at every Server, and no Server counts it as connected."""
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


async def test_a_start_that_is_connected_to_another_server_keeps_the_worker(two):
    """The sign-off of the earlier start comes to a Server that may not know of the later one yet."""
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


async def test_who_is_connected_to_another_server_is_not_absent(two):
    """What the database says at the moment of the removal counts; what is absent is removed once, although both look."""
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


async def test_a_connected_worker_that_is_deleted_is_counted_at_no_server(start_server):
    """Its row is gone with its entry before its own Server can remove it: the others are told all the same."""
    async with start_server() as first, start_server() as second, start_server() as third:
        held = await connected(first, await token_of(first, *await new_worker(first)))
        await until(online(third, 1), "the third knows of it")

        await delete(second)

        for server in (first, second, third):
            await until(online(server, 0), "it is not counted")
        await held
