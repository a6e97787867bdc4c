"""Old events are removed up to a signed checkpoint, and the log still verifies; any other removal is detected."""

import json
from datetime import timedelta

import pytest
from tests.builders import NOON, FakeClock, event
from tests.store.conftest import run_directly

from lyftdata.core.audit_checkpoints import read_checkpoint
from lyftdata.core.merkle_tree import CompactRange, leaf_hash
from lyftdata.server.admin.audit_checkpoints import Occasion
from lyftdata.server.admin.audit_retention import AuditRetention
from lyftdata.server.admin.kept_checkpoint import FILE

KEEP = timedelta(days=30)


def retention_of(server):
    """Return a retention of 30 days."""
    services = server.services
    return AuditRetention(
        store=services.store, checkpoints=services.checkpoints, keep=KEEP, clock=services.clock
    )


async def write_days(server, days):
    """Write an event and sign a checkpoint on each of so many days."""
    for day in range(days):
        server.clock.forward(days=1)
        recorded = event(details={"day": str(day)}, at=server.clock())
        await server.services.store.write(lambda tx, recorded=recorded: tx.audit(recorded))
        await server.services.checkpoints.sign(Occasion.HOUR)


@pytest.fixture
async def aged(opened):
    """Return a Server with a log of 40 days, of which the older events were removed."""
    async with opened(FakeClock(NOON)) as server:
        await write_days(server, 40)
        await retention_of(server).prune()
        yield server


def sql(server, *statements):
    """Run SQL behind the Server's back."""
    file = server.services.settings.staging_dir / "lyftdata.db"
    return run_directly(f"sqlite:///{file}", *statements)


async def test_old_events_are_removed_and_the_log_still_verifies(aged):
    """The rest begins after a checkpoint, and has no older event; the removal is itself an event."""
    report = await aged.services.audit_queries.verify()
    page = await aged.services.audit_queries.list_page(limit=1000)
    (pruned,) = [shown for shown in page.items if shown.action == "audit_log.pruned"]

    assert report.ok, report.problem
    assert report.removed == int(pruned.details["through"]) == page.items[-1].number - 1
    assert report.checked == len(page.items)
    assert min(shown.at for shown in page.items) == aged.clock() - KEEP
    assert sql(aged, "SELECT min(size) FROM audit_checkpoints")[0][0] == report.removed


async def test_nothing_is_removed_twice_or_too_early(aged):
    """A second run removes nothing; later the next events are removed, and the log still verifies."""
    before = await aged.services.audit_queries.verify()
    await retention_of(aged).prune()
    assert (await aged.services.audit_queries.verify()).removed == before.removed
    await write_days(aged, 2)
    await retention_of(aged).prune()
    after = await aged.services.audit_queries.verify()

    assert (after.ok, after.removed) == (True, before.removed + 2)


async def test_a_log_without_an_old_enough_checkpoint_is_kept(opened):
    """Events are removed up to a checkpoint, never past it."""
    async with opened(FakeClock(NOON)) as server:
        server.clock.forward(days=100)
        await server.services.store.write(lambda tx: tx.audit(event(at=server.clock())))
        await server.services.checkpoints.sign(Occasion.HOUR)
        sql(server, "DELETE FROM audit_checkpoints WHERE size < (SELECT max(size) FROM audit_checkpoints)")
        await retention_of(server).prune()

        assert (await server.services.audit_queries.verify()).removed == 0


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM audit_events WHERE number = (SELECT min(number) FROM audit_events)",
        "DELETE FROM audit_events WHERE action = 'audit_log.pruned'",
        "UPDATE audit_events SET details = '{\"through\": \"13\"}' WHERE action = 'audit_log.pruned'",
        "DELETE FROM audit_checkpoints WHERE size = (SELECT min(size) FROM audit_checkpoints)",
        "UPDATE audit_checkpoints SET note = 'x' WHERE size = (SELECT min(size) FROM audit_checkpoints)",
        "UPDATE audit_events SET previous = hash WHERE number = (SELECT min(number) FROM audit_events)",
    ],
)
async def test_a_removal_that_no_server_made_is_detected(aged, statement):
    """Of more events, of the event that records the removal, or of the checkpoint where the log continues."""
    assert (await aged.services.audit_queries.verify()).ok
    sql(aged, statement)

    report = await aged.services.audit_queries.verify()
    assert not report.ok
    assert report.problem


async def test_the_remaining_events_can_be_exported_and_proven(aged, third_party, unhurried):
    """The third party learns how many events were removed."""
    admin = await aged.sign_in()
    export = (await aged.http.get("/api/audit/export?format=signed", headers=admin)).content
    key = (await aged.http.get("/.well-known/lyftdata-audit-key")).text
    removed = (await aged.services.audit_queries.verify()).removed
    done = third_party(export, key)
    last = (await aged.http.get(f"/api/audit/{removed}/proof", headers=admin)).json()
    proof = await aged.http.get(f"/api/audit/{removed + 1}/proof", headers=admin)

    assert f", {removed} of them removed before." in done.stdout, done.stderr
    assert last["code"] == "audit_event_not_found"
    assert third_party(proof.content, key, "verify_proof.py").returncode == 0


async def test_an_event_cannot_be_hidden_as_a_removed_one(server, admin, third_party, unhurried):
    """The root matches, but the log records no removal: the script says that the oldest events are missing."""
    for _ in range(3):
        await server.services.store.write(lambda tx: tx.audit(event()))
    export = (await server.http.get("/api/audit/export?format=signed", headers=admin)).content
    key = (await server.http.get("/.well-known/lyftdata-audit-key")).text
    head, *events = export.splitlines()
    hidden = CompactRange()
    for line in events[:4]:
        hidden.append(leaf_hash(line))
    removed = {"events": 4, "hashes": [peak.hex() for peak in hidden.peaks]}
    forged = json.dumps(json.loads(head) | {"removed": removed}).encode()

    done = third_party(b"\n".join([forged, *events[4:], b""]), key)
    assert done.returncode == 1
    assert "does not say that they were removed" in done.stderr


async def test_the_next_start_continues_from_the_remaining_events(opened, aged):
    """The tree is read from the checkpoint of the removal or a later one, and no problem is reported."""
    signed = await aged.services.checkpoints.sign(Occasion.HOUR)
    later = FakeClock(aged.clock())
    staging = aged.services.settings.staging_dir
    await aged.services.store.close()
    async with opened(later) as server:
        assert not server.services.checkpoints.problem
        assert (await server.services.audit_queries.verify()).ok
    assert read_checkpoint((staging / FILE).read_text()).size >= signed.size


async def test_nothing_is_removed_from_a_changed_log(opened):
    """A changed log is evidence."""
    async with opened(FakeClock(NOON)) as server:
        await write_days(server, 40)
        sql(server, "UPDATE audit_events SET actor = 'operator:eve' WHERE number = 5")
        assert not (await server.services.audit_queries.verify()).ok
        before = sql(server, "SELECT count(*) FROM audit_events")[0][0]
        await retention_of(server).prune()

        assert sql(server, "SELECT count(*) FROM audit_events")[0][0] == before
