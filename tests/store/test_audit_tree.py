"""The tree of the audit log: signed checkpoints against an attacker who can write to the database but does not have the key."""

import functools

import pytest
from tests.builders import NOON, event
from tests.store.conftest import AUDIT_KEY, run_directly

from lyftdata.core.audit import leaf_of
from lyftdata.core.audit_checkpoints import CheckpointKey, add_event, join_peaks
from lyftdata.core.merkle_tree import CompactRange, leaf_hash
from lyftdata.core.records import CheckpointRecord
from lyftdata.store import audit_log, audit_tree
from lyftdata.store.tables import audit_checkpoints

KEY = CheckpointKey(AUDIT_KEY, issuer="https://lyft.example")


async def write_events(store, count):
    """Append events."""
    for n in range(count):
        await store.write(lambda tx, n=n: tx.audit(event(details={"n": str(n)})))


async def current_tree(store):
    """Return the tree of the current log."""
    tree = CompactRange()
    while await store.read(lambda conn: audit_tree.extend(conn, tree, audit_key=AUDIT_KEY)):
        pass
    return tree


async def sign(store):
    """Store a checkpoint of the current log; return its tree."""
    tree = await current_tree(store)
    record = CheckpointRecord(size=tree.size, at=NOON, peaks=join_peaks(tree), note=KEY.sign(tree))
    await store.write(lambda tx: audit_checkpoints.add_checkpoint(tx, record))
    return tree


@pytest.fixture
async def signed(store, database_url, monkeypatch):
    """Return a function that runs SQL behind the store's back, on a log of seven events with checkpoints of three and five."""
    monkeypatch.setattr(audit_tree, "_AT_ONCE", 2)
    await write_events(store, 3)
    await sign(store)
    await write_events(store, 2)
    await sign(store)
    await write_events(store, 2)
    return functools.partial(run_directly, database_url)


async def test_an_unchanged_log_with_checkpoints_verifies(store, signed):
    """The checkpoints match the events; a second checkpoint of as many events is not stored."""
    first = signed("SELECT note FROM audit_checkpoints ORDER BY size")
    await sign(store)

    assert (await store.verify_audit()).ok
    assert len(first) == 2
    assert len(signed("SELECT note FROM audit_checkpoints")) == 3


@pytest.mark.parametrize(
    ("sql", "problem"),
    [
        (
            "UPDATE audit_checkpoints SET note = (SELECT note FROM audit_checkpoints WHERE size = 3) WHERE size = 5",
            "changed",
        ),
        ("UPDATE audit_checkpoints SET peaks = (SELECT hash FROM audit_events WHERE number = 1)", "changed"),
        ("UPDATE audit_checkpoints SET size = 4 WHERE size = 3", "changed"),
        ("UPDATE audit_checkpoints SET size = 9 WHERE size = 3", "ends at event 7"),
    ],
)
async def test_a_changed_checkpoint_is_detected(store, signed, sql, problem):
    """Its text, its subtrees, or its size."""
    signed(sql)

    report = await store.verify_audit()

    assert not report.ok
    assert problem in report.problem


async def test_a_rewritten_log_is_detected_by_a_checkpoint(store, signed):
    """A rewritten log has a valid chain, but the checkpoint was signed for other events."""
    other = CompactRange()
    for number in range(1, 7):
        other.append(leaf_hash(leaf_of(event("another.event"), number=number)))
    record = CheckpointRecord(size=6, at=NOON, peaks=join_peaks(other), note=KEY.sign(other))
    await store.write(lambda tx: audit_checkpoints.add_checkpoint(tx, record))

    report = await store.verify_audit()

    assert not report.ok
    assert report.problem == "The first 6 events are not those of which a checkpoint was signed."


async def test_the_root_of_every_length_is_found(store, signed):
    """From a checkpoint, or from the beginning if no checkpoint is validly signed; a shorter log has none."""
    expected = {}
    tree = CompactRange()
    for chained in await store.read(lambda conn: audit_log.events_after(conn, after=0, limit=9)):
        add_event(tree, chained)
        expected[tree.size] = tree.root()
    for statement in ("SELECT 1", "UPDATE audit_checkpoints SET note = 'x'"):
        signed(statement)
        for size, root in expected.items():
            found = await store.read(functools.partial(audit_tree.root_at, size=size, audit_key=AUDIT_KEY))
            assert found == root

    assert await store.read(lambda conn: audit_tree.root_at(conn, 8, audit_key=AUDIT_KEY)) is None


async def test_events_that_no_server_wrote_are_not_signed(store, signed):
    """An event inserted or changed in the database is not added to the tree."""
    signed("UPDATE audit_events SET actor = 'operator:eve' WHERE number = 6")

    with pytest.raises(audit_tree.AuditLogChangedError, match="Event 6 was changed"):
        await current_tree(store)


async def test_events_after_a_gap_are_not_signed(store, signed):
    """The tree is not continued after a missing event."""
    signed("DELETE FROM audit_events WHERE number = 3")

    with pytest.raises(audit_tree.AuditLogChangedError, match="Event 3 is missing"):
        await current_tree(store)


async def test_a_log_without_the_checkpoint_table_is_checked_too(store, signed):
    """A database of an earlier version has no checkpoints."""
    signed("DROP TABLE audit_checkpoints")

    assert (await store.verify_audit()).ok
