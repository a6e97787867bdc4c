"""The signature counters of identity keys."""

import msgspec
from tests.builders import NOON, worker
from tests.store.conftest import AUDIT_KEY
from tests.store.rows import make_filled

from lyftdata.core.records import SignatureCounterRecord
from lyftdata.store import Store
from lyftdata.store.tables import signature_counters, workers

COUNTER = SignatureCounterRecord(
    worker_id="w-1",
    thumbprint="t-1",
    number=2**40,
    at_ms=1_800_000_000_000,
    recent=((2**40 - 1, 1_799_999_999_999), (7, 5)),
    host="press-01",
    address="2001:db8::1",
    admits="7K2M9QXR",
    admits_until=NOON,
)


async def write(store, *records):
    """Write counters."""
    await store.write(lambda tx: signature_counters.upsert_counters(tx, records))


async def test_a_counter_is_read_as_it_was_written(store):
    """By ID and all at once; the last write counts, and a deleted Worker has no counter."""
    for worker_id in ("w-1", "w-2"):
        record = worker(worker_id)
        await store.write(lambda tx, record=record: workers.insert_worker(tx, record, unique_name=True))
    await write(store, msgspec.structs.replace(COUNTER, number=1))
    second = msgspec.structs.replace(COUNTER, worker_id="w-2", recent=())
    gone = msgspec.structs.replace(COUNTER, worker_id="w-gone")
    await write(store, COUNTER, second, gone)

    found = await store.read(lambda conn: signature_counters.find_counters(conn, ["w-1", "w-2", "w-gone"]))
    everything = await store.read(lambda conn: list(signature_counters.all_counters(conn)))
    await store.write(lambda tx: workers.delete_worker(tx, "w-1"))
    left = await store.read(lambda conn: signature_counters.find_counters(conn, ["w-1", "w-2"]))

    assert found == {"w-1": COUNTER, "w-2": second}
    assert {record.worker_id: record for record in everything} == found
    assert left == {"w-2": second}


async def test_after_an_upgrade_counting_begins_with_the_next_signature(database_url):
    """The upgrade keeps the Workers, which have no counters yet."""
    make_filled(database_url, revision="0015")
    store = Store.open(database_url, audit_key=AUDIT_KEY)
    [kept] = await store.read(lambda conn: list(workers.all_workers(conn)))

    assert await store.read(lambda conn: list(signature_counters.all_counters(conn))) == []
    counted = msgspec.structs.replace(COUNTER, worker_id=kept.id)
    await write(store, counted)
    assert await store.read(lambda conn: list(signature_counters.all_counters(conn))) == [counted]
    await store.close()
