"""Worker entries: what is stored, which conflicts are refused, and that of two concurrent callers exactly one wins."""

import msgspec
import pytest
from tests.builders import api_key, worker
from tests.store.conftest import add_workers, count_successes

from lyftdata.core.errors import ConflictError, NotFoundError
from lyftdata.core.records import (
    Strategy,
)
from lyftdata.store.changes import ApiKeyChanged, WorkerChanged
from lyftdata.store.tables import (
    api_keys,
    workers,
)

ENROLLED = worker(
    "w-e",
    strategy=Strategy.AUTO_ENROLLMENT,
    public_jwk='{"kty":"EC"}',
    thumbprint="t" * 43,
    enrolled_with="f" * 16,
    enrolled_from="192.0.2.1",
    labels={"zone": "eu-1", "gpu": ""},
    epoch=1795520569043,
)


async def test_a_worker_is_stored_as_it_is(store):
    """Every field of an entry is read back, with times in UTC."""
    await add_workers(store, ENROLLED)

    assert await store.read(lambda conn: workers.find_by_thumbprint(conn, "t" * 43)) == ENROLLED
    assert await store.read(lambda conn: workers.find_worker(conn, "w-x")) is None


async def test_of_twenty_racing_for_an_id_one_wins(store):
    """An ID is unique."""
    racing = [
        store.write(lambda tx: workers.insert_worker(tx, ENROLLED, unique_name=False)) for _ in range(20)
    ]

    assert await count_successes(racing) == 1


async def test_of_twenty_racing_for_an_identity_key_one_wins(store):
    """Two entries never have the same identity key."""
    racing = [
        store.write(
            lambda tx, n=n: workers.insert_worker(
                tx, msgspec.structs.replace(ENROLLED, id=f"w-{n}"), unique_name=False
            )
        )
        for n in range(20)
    ]

    assert await count_successes(racing) == 1


async def test_the_name_of_a_superseded_worker_is_free(store):
    """A name can be given again only once its holder is superseded."""
    await add_workers(store, worker("w-1", name="press"))
    fresh = worker("w-2", name="press")
    with pytest.raises(ConflictError) as taken:
        await store.write(lambda tx: workers.insert_worker(tx, fresh, unique_name=True))
    assert taken.value.code == "worker_name_taken"

    await store.write(lambda tx: workers.replace_worker(tx, worker("w-1", name="press", superseded_by="w-2")))
    await store.write(lambda tx: workers.insert_worker(tx, fresh, unique_name=True))

    holder = await store.read(lambda conn: workers.find_live_by_name(conn, "press"))
    assert holder is not None
    assert holder.id == "w-2"


async def test_deleting_a_worker_removes_it_from_its_keys(store, published):
    """A key for this Worker only is then for no Worker: a new one with the same ID does not inherit it."""
    await add_workers(store, worker("w-1"), worker("w-2"))
    key = api_key(for_all_workers=False, worker_ids=("w-1",))
    await store.write(lambda tx: api_keys.insert_api_key(tx, key))
    published.clear()

    await store.write(lambda tx: workers.delete_worker(tx, "w-1"))

    (left,) = await store.read(lambda conn: list(api_keys.all_api_keys(conn)))
    assert (left.for_all_workers, left.worker_ids) == (False, ())
    assert published == [ApiKeyChanged(key.public_id, left), WorkerChanged("w-1", None)]
    with pytest.raises(NotFoundError):
        await store.write(lambda tx: workers.delete_worker(tx, "w-1"))


async def test_every_taken_id_or_name_of_many_new_entries_is_listed(store):
    """IDs first, then names; a superseded entry does not hold its name."""
    gone = worker("w-gone", name="free", superseded_by="w-1")
    await add_workers(store, worker("w-1", name="press-1"), worker("w-2", name="press-2"), gone)

    async def refusal(*records):
        with pytest.raises(ConflictError) as refused:
            await store.read(lambda conn: workers.ensure_all_free(conn, records))
        return refused.value.code, refused.value.message

    code, message = await refusal(worker("w-2", name="a"), worker("w-1", name="b"), worker("w-9", name="c"))
    assert (code, message.endswith("with these IDs already: 'w-1', 'w-2'.")) == ("worker_id_taken", True)
    code, message = await refusal(worker("w-8", name="press-2"), worker("w-9", name="c"))
    assert (code, message.endswith("with this name already: 'press-2'.")) == ("worker_name_taken", True)
    code, message = await refusal(worker("W-1", name="d"))
    # As requested: the spelling of another team's Worker ID is not revealed.
    assert (code, message.endswith("with this ID already: 'W-1'.")) == ("worker_id_taken", True)
    await store.read(lambda conn: workers.ensure_all_free(conn, [worker("w-9", name="free")]))


async def test_no_two_ids_differ_only_in_case(store):
    """Impersonation: a system that grants by Worker ID and ignores case, such as OpenBao, would confuse the two."""
    await add_workers(store, worker("Press-01"))

    for worker_id, says in (("Press-01", "with the ID 'Press-01' already"), ("press-01", "only in case")):
        with pytest.raises(ConflictError, match=says) as refused:
            await add_workers(store, worker(worker_id, name="other"))
        assert refused.value.code == "worker_id_taken"


async def test_entries_with_the_same_labels_share_them(store):
    """A fleet of thousands has a few sets of labels, and holds each once; no entry gets the labels of another."""
    zone = {"zone": "eu-1", "gpu": ""}
    entries = [
        worker("w-1", labels=zone),
        worker("w-2", labels=zone),
        worker("w-3", labels={"zone": "eu-1"}),
        worker("w-4", labels={"gpu": "", "zone": "eu-2"}),
        worker("w-5"),
        ENROLLED,
    ]
    await add_workers(store, *entries)

    found = await store.read_tables(lambda conn: {entry.id: entry for entry in workers.all_workers(conn)})

    assert found == {entry.id: entry for entry in entries}
    assert found["w-1"].labels is found["w-2"].labels
