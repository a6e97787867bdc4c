"""Traces and refusals are written with a delay of at most a second; they are always visible, and a failing disk loses none."""

import asyncio
import threading

import pytest
import sqlalchemy as sa

from lyftdata.core.actor import Actor
from lyftdata.core.records import Role
from lyftdata.core.refusals import UnknownWorkerError, WorkerDisabledError
from lyftdata.server.http.client_address import client_address
from lyftdata.store import StoreError
from lyftdata.store.schema import refusal_attempts
from lyftdata.store.tables import api_keys, refusals

ADMIN = Actor(operator="admin", role=Role.ADMIN, session_id="s", address="192.0.2.1")


class HeldWriter:
    """Holds the store's only writer until `go_on` is set, so that a flush takes as long as a test needs."""

    def __init__(self, server):
        self.go_on = threading.Event()
        self.held = asyncio.ensure_future(server.services.store.write(lambda _tx: self.go_on.wait(180)))


async def test_a_refusal_can_be_looked_up_while_it_is_being_written(server, admin, press):
    """By its reference and in the list, during the flush and after it."""
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


async def test_a_decision_does_not_wait_until_all_traces_are_written(server, admin, press):
    """Thousands of traces are written in batches, and a Worker that is disabled meanwhile comes after the current batch."""
    now = server.clock()
    for number in range(3000):
        server.services.traces.worker_seen(
            f"w-{number}", at=now, address="192.0.2.7", api_key_name=None, host={}
        )
    writer = HeldWriter(server)
    flush = asyncio.ensure_future(server.services.traces.flush())
    await asyncio.sleep(0)
    disabled = asyncio.ensure_future(server.services.workers.change("press-01", enabled=False, actor=ADMIN))
    await asyncio.sleep(0)
    writer.go_on.set()

    await disabled

    assert not flush.done()
    await asyncio.gather(flush, writer.held)


async def test_identity_keys_are_parsed_at_the_start(opened):
    """A key parsed at its first use would take time that reveals which Worker IDs exist."""
    async with opened() as server:
        worker_id, key = await server.enrolled()
    async with opened() as server:
        ready = server.services.directory.find_identity_key(worker_id)
        assert ready is not None
        assert ready.thumbprint == key.public.thumbprint
        await server.services.workers.delete(worker_id, actor=ADMIN)
        assert server.services.directory.find_identity_key(worker_id) is None


async def test_a_repeated_withdrawal_is_published_again(server, press):
    """Disabling or revoking again, because the outcome of the first attempt was unknown, still reaches connected Workers."""
    services = server.services
    published = []
    apply = services.directory.apply

    def listen(changes):
        published.extend(changes)
        apply(changes)

    services.directory.apply = listen
    (name,) = [key.name for key in await services.store.read(lambda c: list(api_keys.all_api_keys(c)))]
    for _ in range(2):
        await services.workers.change("press-01", enabled=False, actor=ADMIN)
        await services.api_keys.revoke(name, actor=ADMIN)

    assert len(published) == 4


async def test_traces_are_visible_while_they_are_written(server, admin, press):
    """The last use of a key does not disappear between memory and disk."""
    await server.token_by_key(*press)
    writer = HeldWriter(server)
    await asyncio.sleep(0)
    flush = asyncio.ensure_future(server.services.traces.flush())
    await asyncio.sleep(0.01)

    (key,) = (await server.http.get("/api/api-keys", headers=admin)).json()["items"]
    assert key["last_used_by"] == "press-01"
    writer.go_on.set()
    await asyncio.gather(flush, writer.held)


async def test_what_could_not_be_written_to_a_full_disk_is_written_later(server, admin, press, monkeypatch):
    """A failed flush loses neither traces nor refusals."""
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


async def test_refusals_waiting_for_a_full_disk_are_bounded(server, monkeypatch):
    """A flood while the disk is full does not fill the memory."""

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


def refuse(server, claimed, address, kind=UnknownWorkerError):
    """Record a refusal at the Server."""
    return server.services.refusals.record(kind(claimed_worker=claimed), address=address)


async def count_stored(server):
    """Write everything pending; return how many attempts the store holds."""
    await server.services.refusals.flush()
    count = sa.select(sa.func.count()).select_from(refusal_attempts)
    return await server.services.store.read(lambda conn: conn.execute(count).scalar_one())


async def test_a_flood_from_many_networks_is_counted_but_not_stored_in_full(server, press):
    """However many networks fail a few times each, the number of refusals written per second is limited."""
    for second in range(3):
        for n in range(1_000):
            for _ in range(3):
                refuse(server, f"made-up-{second}-{n}", f"2001:{second:x}:{n:x}::1")
        await server.services.refusals.flush()
        server.clock.forward(seconds=1)

    before = await count_stored(server)
    assert before <= 900 + 3 * 20
    assert server.services.metrics.refusals == 9_000
    server.clock.forward(seconds=9)
    for n in range(3_000):
        refuse(server, "made-up", f"2001:9:{n:x}::1")
    assert 0 < await count_stored(server) - before <= 10 * 20


@pytest.mark.parametrize("claimed", ["press-01", "nobody"])
async def test_a_flood_from_one_network_does_not_hide_refusals_of_others(server, press, claimed):
    """A customer's /48 contains 65,536 networks with their own budgets; refusals from elsewhere are still written."""
    for n in range(5_000):
        refuse(server, f"made-up-{n}", f"2001:db8:0:{n:x}::1")

    answers = [refuse(server, claimed, "192.0.2.7"), refuse(server, claimed, "2001:db8:1::7")]

    await server.services.refusals.flush()
    for answer in answers:
        found = await server.services.store.read(
            lambda conn, answer=answer: refusals.find_reference(conn, answer.reference)
        )
        assert found.claimed_worker == claimed


async def test_a_flood_of_unproven_callers_does_not_hide_a_worker_that_proved_its_key(server, press):
    """Refusals of proven callers have their own budget."""
    for n in range(5_000):
        refuse(server, f"made-up-{n}", f"2001:{n:x}::1")

    answer = refuse(server, "press-01", "192.0.2.7", WorkerDisabledError)

    await server.services.refusals.flush()
    assert await server.services.store.read(lambda conn: refusals.find_reference(conn, answer.reference))


async def test_a_flood_does_not_reveal_which_workers_exist(server, press, monkeypatch):
    """Once the budget is used up, refusals are not written for existing Workers either, so they take no more time than others."""
    for n in range(5_000):
        refuse(server, f"made-up-{n}", f"2001:{n:x}::1")
    pending = len(server.services.refusals._pending)

    for claimed in ("press-01", "nobody"):
        refuse(server, claimed, "192.0.2.7")

    assert len(server.services.refusals._pending) == pending


@pytest.mark.parametrize(
    "host", ["fe80::1%eth0", "fe80::1%eth0 forged=1\nrefused", "fe80::1%" + "x" * 10_000]
)
def test_the_zone_of_an_address_is_dropped(host):
    """It is this host's name for an interface, and in a forwarded address free text of an unknown caller."""
    assert client_address({"client": (host, 1)}) == "fe80::1"
