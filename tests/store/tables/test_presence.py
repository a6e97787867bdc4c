"""Which Worker is connected to which Server, if several share a database."""

import itertools
from collections.abc import Callable
from datetime import timedelta

import msgspec
import pytest
from sqlalchemy import Connection, event
from tests.builders import NOON, worker
from tests.store.conftest import ON_POSTGRESQL, add_workers, count_successes

from lyftdata.core.records import PresenceRecord, PresenceState, ServerRecord
from lyftdata.store.changes import PresenceChanged
from lyftdata.store.tables import presence, servers, workers

pytestmark = ON_POSTGRESQL
ALIVE = timedelta(days=1)


def at(server_id, boot_id="boot-1", **fields):
    """Return the session of Worker w-1 at a Server."""
    values = {
        "worker_id": "w-1",
        "server_id": server_id,
        "boot_id": boot_id,
        "credential": "api_key:press",
        "since": NOON,
        "address": "192.0.2.1",
        "host": {"hostname": "press"},
        "reported_labels": {},
    }
    return PresenceRecord(**values | fields)


async def claim(store, record, *, dead_after=ALIVE):
    """Claim the slot of a Worker; return the session of another boot that holds it, if any."""
    [holder] = await store.write(lambda tx: presence.claim_slots(tx, [record], dead_after=dead_after))
    return None if holder.boot_id == record.boot_id else holder


async def found(store, worker_id="w-1"):
    """Return how a Worker is connected."""
    return await store.read(lambda conn: presence.find(conn, worker_id))


@pytest.fixture(autouse=True)
async def _two_servers(store):
    for name in ("one", "two"):
        record = ServerRecord(
            id=name, host=name, address="127.0.0.1:1", version="1", started_at=NOON, beat_at=NOON
        )
        await store.write(lambda tx, record=record: servers.upsert_server(tx, record))
    await add_workers(store, worker("w-1"), worker("w-2", name="w-2"))


async def test_of_two_boots_of_a_worker_one_gets_the_slot(store):
    """The boot connected at a live Server keeps it; the same boot may move to another Server."""
    first = at("one")
    assert await claim(store, first) is None

    assert await claim(store, at("two", "boot-2")) == first
    assert await found(store) == first
    assert await claim(store, at("two")) is None
    assert (await found(store)).server_id == "two"


@pytest.mark.parametrize(
    ("state", "server_id", "goes_on"),
    [
        (PresenceState.CONNECTED, "two", True),
        (PresenceState.BROKEN, "two", True),
        # Its Server is gone, and so the session ended.
        (PresenceState.AWAITED, "two", False),
        # The claiming Server knows whether its own session continues.
        (PresenceState.CONNECTED, "one", False),
    ],
)
async def test_a_session_that_moves_keeps_its_start_time(store, state, server_id, goes_on):
    """Also if the Server that it moves to does not know it."""
    await claim(store, at("one"))
    await store.write(lambda tx: presence.set_state(tx, ["w-1"], state, server_id="one"))
    later = NOON + timedelta(seconds=3)

    [holder] = await store.write(
        lambda tx: presence.claim_slots(tx, [at(server_id, since=later)], dead_after=ALIVE)
    )

    assert holder.since == (NOON if goes_on else later)
    assert (await found(store)).since == holder.since


async def test_of_two_concurrent_claims_one_gets_the_slot(store):
    """Two boots connect to two Servers at the same moment."""

    async def ask(record):
        if await claim(store, record) is not None:
            raise AssertionError

    assert await count_successes([ask(at("one", "boot-1")), ask(at("two", "boot-2"))]) == 1


STATES = [*PresenceState, "no session"]


async def test_claims_in_a_batch_have_the_same_results_as_single_ones(store):
    """New, returned to their Server, moved, refused because of another boot, deleted: other claims in the batch change nothing."""
    asked = []
    for number, (state, server_id, boot_id) in enumerate(
        itertools.product(STATES, ("one", "two"), ("boot-1", "boot-2"))
    ):
        for prefix in ("alone", "together"):
            worker_id = f"{prefix}-{number:02}"
            await add_workers(store, worker(worker_id, name=worker_id))
            if state != "no session":
                await claim(store, at("one", worker_id=worker_id))
                await store.write(
                    lambda tx, name=worker_id, s=state: presence.set_state(tx, [name], s, server_id="one")
                )
        asked.append(at(server_id, boot_id, worker_id=f"{number:02}", since=NOON + timedelta(seconds=3)))
    asked.append(at("one", worker_id="unknown"))

    def of(prefix):
        return [msgspec.structs.replace(record, worker_id=f"{prefix}-{record.worker_id}") for record in asked]

    alone = [
        (await store.write(lambda tx, r=record: presence.claim_slots(tx, [r], dead_after=ALIVE)))[0]
        for record in of("alone")
    ]
    together = await store.write(lambda tx: presence.claim_slots(tx, of("together"), dead_after=ALIVE))

    def plain(records):
        return [record and msgspec.structs.replace(record, worker_id="") for record in records]

    assert plain(together) == plain(alone)
    rows = {
        prefix: [await found(store, record.worker_id) for record in of(prefix)]
        for prefix in ("alone", "together")
    }
    assert plain(rows["together"]) == plain(rows["alone"])
    assert rows["alone"][-1] is None


async def test_a_batch_of_a_hundred_workers_needs_as_many_statements_as_one(store):
    """Many arrive together if a Server stops, a team's key is rotated, or a Server that was declared dead reclaims its Workers."""
    names = [f"w-{number}" for number in range(10, 110)]
    await add_workers(store, *(worker(name, name=name) for name in names))

    def numbers_of_statements(tx, ids):
        records = [at("one", worker_id=worker_id) for worker_id in ids]
        steps = (
            lambda: presence.claim_slots(tx, records, dead_after=ALIVE),
            lambda: presence.update_credentials(
                tx, dict.fromkeys(ids, ("key", "192.0.2.9")), server_id="one"
            ),
            lambda: presence.reclaim_slots(tx, records),
        )
        return [len(statements_of(tx.conn, step)) for step in steps]

    one = await store.write(lambda tx: numbers_of_statements(tx, ["w-1"]))
    many = await store.write(lambda tx: numbers_of_statements(tx, names))

    assert many == one


def statements_of(conn: Connection, step: Callable[[], object]) -> list[str]:
    """Return the statements that a step sends to the database."""
    statements: list[str] = []

    def note(_conn: object, _cursor: object, statement: str, *_rest: object) -> None:
        statements.append(statement)

    event.listen(conn, "before_cursor_execute", note)
    try:
        step()
    finally:
        event.remove(conn, "before_cursor_execute", note)
    return statements


async def test_of_two_boots_of_a_worker_in_one_batch_one_gets_the_slot(store):
    """As if they had been claimed one after the other."""
    first, second = at("one"), at("two", "boot-2")

    results = await store.write(lambda tx: presence.claim_slots(tx, [first, second], dead_after=ALIVE))

    assert results == [first, first]
    assert await found(store) == first


@pytest.mark.parametrize("state", [PresenceState.BROKEN, PresenceState.AWAITED])
async def test_a_session_that_is_not_connected_can_be_replaced(store, state):
    """Another boot takes the slot of a session whose connection was lost, or whose Server is gone."""
    await claim(store, at("one"))
    await store.write(lambda tx: presence.set_state(tx, ["w-1"], state, server_id="one"))

    assert await claim(store, at("two", "boot-2")) is None


async def test_a_dead_server_holds_no_slot(store):
    """A session at a Server without a recent heartbeat can be replaced."""
    await claim(store, at("one"))

    assert await claim(store, at("two", "boot-2"), dead_after=timedelta(0)) is None


async def test_a_deleted_worker_gets_no_row(store):
    """A session that begins while its Worker is deleted leaves nothing behind."""
    await store.write(lambda tx: workers.delete_worker(tx, "w-1"))

    assert await claim(store, at("one")) is None
    assert await found(store) is None


async def test_a_server_does_not_overwrite_a_session_at_another(store):
    """Changes of state or credential, and the end of a session, apply only at the Server that has the Worker."""
    await claim(store, at("two"))

    await store.write(lambda tx: presence.set_state(tx, ["w-1"], PresenceState.BROKEN, server_id="one"))
    await store.write(
        lambda tx: presence.update_credentials(tx, {"w-1": ("api_key:other", "192.0.2.9")}, server_id="one")
    )
    await store.write(lambda tx: presence.remove(tx, ["w-1"], server_id="one"))
    await store.write(lambda tx: presence.reclaim_slots(tx, [at("one")]))
    assert await found(store) == at("two")

    await store.write(
        lambda tx: presence.update_credentials(tx, {"w-1": ("api_key:other", "192.0.2.9")}, server_id="two")
    )
    assert await found(store) == at("two", credential="api_key:other", address="192.0.2.9")
    await store.write(lambda tx: presence.remove(tx, ["w-1"], server_id="two"))
    assert await found(store) is None
    await store.write(lambda tx: presence.reclaim_slots(tx, [at("one")]))
    assert await found(store) == at("one")


async def test_workers_of_a_dead_server_are_awaited_for_a_time(store, published):
    """They count as connected until then; each step is published."""
    await claim(store, at("one"))
    await claim(store, at("two", worker_id="w-2"))
    published.clear()

    assert await store.write(lambda tx: presence.mark_awaited(tx, "one")) == ["w-1"]
    assert await store.read(presence.count_awaited) == 1
    assert await store.read(presence.servers_named) == {"two"}
    await store.write(lambda tx: presence.expire_awaited(tx, after=ALIVE))
    assert await store.read(presence.count) == 2
    await store.write(lambda tx: presence.expire_awaited(tx, after=timedelta(0)))

    assert [record.worker_id for record in await store.read(lambda conn: list(presence.list_all(conn)))] == [
        "w-2"
    ]
    awaited = msgspec.structs.replace(at("one"), state=PresenceState.AWAITED)
    assert published == [PresenceChanged("w-1", awaited), PresenceChanged("w-1", None)]
