"""Services for which Workers may get tokens."""

import msgspec
import pytest
from tests.builders import NOON
from tests.store.conftest import count_successes

from lyftdata.core.errors import ConflictError, NotFoundError
from lyftdata.core.records import ResourceRecord
from lyftdata.store.changes import ResourceChanged
from lyftdata.store.tables import resources


def resource(name="broker", **fields):
    """Return a service."""
    values = {
        "name": name,
        "audience": f"https://{name}.example",
        "created_at": NOON,
        "created_by": "operator:admin",
    }
    return ResourceRecord(**values | fields)


async def insert(store, record):
    """Add a service."""
    await store.write(lambda tx: resources.insert_resource(tx, record))


async def test_a_service_and_its_workers_are_stored(store):
    """Every field is read back; for an unknown name, `find` returns None and `get` raises."""
    record = resource(
        scopes=["read", "write"],
        worker_ids=["w-1"],
        worker_names=["press"],
        labels=["zone=eu-1"],
        include_enrolled=True,
        key_public_id="AAAA",
        key_digest=b"\x00" * 32,
    )
    await insert(store, record)

    assert await store.read(lambda conn: resources.get_resource(conn, "broker")) == record
    assert await store.read(lambda conn: resources.find_resource(conn, "other")) is None
    with pytest.raises(NotFoundError):
        await store.read(lambda conn: resources.get_resource(conn, "other"))


async def test_names_and_audiences_are_unique(store):
    """Also for concurrent callers, and for a change of another service."""
    racing = [insert(store, resource(f"r{n}", audience="https://same.example")) for n in range(5)]
    assert await count_successes(racing) == 1
    await insert(store, resource())

    for change, code in (
        (insert(store, resource(audience="https://new.example")), "resource_name_taken"),
        (insert(store, resource("new", audience="https://broker.example")), "resource_audience_taken"),
    ):
        with pytest.raises(ConflictError) as refused:
            await change
        assert refused.value.code == code
    taken = resource(audience="https://same.example")
    with pytest.raises(ConflictError) as refused:
        await store.write(lambda tx: resources.replace_resource(tx, taken))
    assert refused.value.code == "resource_audience_taken"


async def test_a_deleted_worker_is_removed_from_every_service(store, published):
    """A later Worker with the same ID inherits nothing; services that do not name it are not changed."""
    await insert(store, resource(worker_ids=["w-1", "w-2"]))
    await insert(store, resource("other", worker_ids=["w-2"]))
    published.clear()

    await store.write(lambda tx: resources.remove_workers(tx, ["w-1"]))

    changed = resource(worker_ids=["w-2"])
    assert published == [ResourceChanged("broker", changed)]
    assert await store.read(lambda conn: resources.get_resource(conn, "broker")) == changed


async def test_a_change_and_a_deletion_are_published(store, published):
    """So that the copies in memory are updated."""
    await insert(store, resource())
    changed = msgspec.structs.replace(resource(), scopes=["read"])
    await store.write(lambda tx: resources.replace_resource(tx, changed))

    assert await store.write(lambda tx: resources.delete_resource(tx, "broker")) == changed
    with pytest.raises(NotFoundError):
        await store.write(lambda tx: resources.delete_resource(tx, "broker"))
    assert [change.record for change in published] == [resource(), changed, None]
