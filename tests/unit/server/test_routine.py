"""Routine traces and refusals: at most a second behind, never out of sight, never lost by a failing disk."""

import asyncio
import threading

import pytest

from lyftdata.core.records import Role
from lyftdata.server.actor import Actor
from lyftdata.store import StoreError, api_keys

ADMIN = Actor(operator="admin", role=Role.ADMIN, session_id="s", address="192.0.2.1")


class HeldWriter:
    """Holds the store's one writer until told to go on, so that a flush is under way for as long as a test wants."""

    def __init__(self, server):
        self.go_on = threading.Event()
        self.held = asyncio.ensure_future(server.services.store.write(lambda _tx: self.go_on.wait(10)))


async def test_a_refusal_is_found_while_a_flush_is_under_way(server, admin, press):
    """The operator who looks the reference up in the very moment in which it is being written finds it."""
    answer = await server.token_by_key("press-01", "nonsense")
    writer = HeldWriter(server)
    await asyncio.sleep(0)
    flush = asyncio.ensure_future(server.services.refusals.flush())
    await asyncio.sleep(0)
    for held_back in (True, False):
        asked = await server.http.get(f"/api/refusals/{answer.json()['reference']}", headers=admin)
        assert asked.json()["code"] == "malformed_api_key"
        (group,) = (await server.http.get("/api/refusals", headers=admin)).json()["items"]
        assert group["count"] == 1
        if held_back:
            writer.go_on.set()
            await asyncio.gather(flush, writer.held)


async def test_identity_keys_are_ready_before_anybody_asks(opened):
    """After a restart an enrolled Worker's key need not be parsed first: the time would tell its ID from others."""
    async with opened() as server:
        worker_id, key = await server.enrolled()
    async with opened() as server:
        ready = server.services.directory.find_identity_key(worker_id)
        assert ready is not None
        assert ready.thumbprint == key.public.thumbprint
        await server.services.fleet.delete(worker_id, actor=ADMIN)
        assert server.services.directory.find_identity_key(worker_id) is None


async def test_one_operator_does_not_take_every_place_of_the_listeners(server):
    """Forty streams of one operator leave room for another's."""
    events = server.services.events
    listeners = [events.listen("ada", every_s=60) for _ in range(40)]
    waiting = [asyncio.ensure_future(anext(listener)) for listener in listeners]
    await asyncio.sleep(0)

    assert (events.has_room("ada"), events.has_room("vera")) == (False, True)
    events.close()
    await asyncio.gather(*waiting, return_exceptions=True)


async def test_what_is_repeated_is_told_again(server, press):
    """Disabling or revoking again, because the outcome of the first time was unknown, reaches what is connected."""
    services = server.services
    told = []
    apply = services.directory.apply

    def listen(changes):
        told.extend(changes)
        apply(changes)

    services.directory.apply = listen
    (name,) = [key.name for key in await services.store.read(lambda c: list(api_keys.all_api_keys(c)))]
    for _ in range(2):
        await services.fleet.change("press-01", enabled=False, actor=ADMIN)
        await services.api_keys.revoke(name, actor=ADMIN)

    assert len(told) == 4


async def test_traces_are_in_sight_while_they_are_written(server, admin, press):
    """Who used a key last does not vanish between memory and disk."""
    await server.token_by_key(*press)
    writer = HeldWriter(server)
    await asyncio.sleep(0)
    flush = asyncio.ensure_future(server.services.traces.flush())
    await asyncio.sleep(0.01)

    (key,) = (await server.http.get("/api/api-keys", headers=admin)).json()["items"]
    assert key["last_used_by"] == "press-01"
    writer.go_on.set()
    await asyncio.gather(flush, writer.held)


async def test_what_a_full_disk_did_not_take_is_written_later(server, admin, press, monkeypatch):
    """A failing flush loses neither traces nor refusals."""
    refused = await server.token_by_key("press-01", "nonsense")
    await server.token_by_key(*press)

    async def full(_op):
        raise StoreError("disk full")

    services = server.services
    monkeypatch.setattr(services.store, "write", full)
    for log in (services.refusals, services.traces):
        with pytest.raises(StoreError):
            await log.flush()
    monkeypatch.undo()
    await services.refusals.flush()
    await services.traces.flush()

    (key,) = (await server.http.get("/api/api-keys", headers=admin)).json()["items"]
    assert key["last_used_by"] == "press-01"
    assert await server.cause(refused) == "malformed_api_key"


async def test_a_flood_that_cannot_be_written_is_bounded(server, monkeypatch):
    """While the disk is full, what waits to be written does not grow without end."""

    async def full(_op):
        raise StoreError("disk full")

    monkeypatch.setattr(server.services.store, "write", full)
    for n in range(300):
        async with server.from_address(f"198.51.{n}.1" if n < 256 else f"203.0.{n - 256}.1") as client:
            for _ in range(10):
                await client.post(
                    "/oauth2/token",
                    data={"grant_type": "client_credentials", "client_id": "x", "client_secret": "y"},
                )
        with pytest.raises(StoreError):
            await server.services.refusals.flush()
    monkeypatch.undo()

    assert len(server.services.refusals._pending) <= 2_000
