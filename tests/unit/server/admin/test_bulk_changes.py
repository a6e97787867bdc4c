"""Changes to many Workers: exactly the intended ones, as one group, and undone only where they have not been changed since."""

from datetime import timedelta

import msgspec
import pytest
from tests.builders import NOON, worker

from lyftdata.core.actor import Actor
from lyftdata.core.bulk_changes import CHANGED, UNDO_WITHIN, BulkAction, seal_match
from lyftdata.core.disabling import Disabling
from lyftdata.core.errors import ConflictError, ForbiddenError, InvalidInputError, NotFoundError
from lyftdata.core.records import ResourceRecord, Role
from lyftdata.core.scopes import scope_of
from lyftdata.server.admin.bulk_changes import UNDONE
from lyftdata.server.admin.incident_response import Wanted
from lyftdata.store import audit_log
from lyftdata.store.tables import resources, workers

ANN = Actor(operator="ann", role=Role.ADMIN, session_id="a", address="192.0.2.50")
BEN = Actor(operator="ben", role=Role.ADMIN, session_id="b", address="192.0.2.51")
IDS = ["w-1", "w-2", "w-3", "w-4"]


@pytest.fixture
async def fleet(server):
    """Return a Server with four Workers, the last of which is disabled."""

    def op(tx):
        for worker_id in IDS:
            record = worker(worker_id, labels={"zone": "eu-1", "old": ""}, enabled=worker_id != "w-4")
            workers.insert_worker(tx, record, unique_name=False)

    await server.services.store.write(op)
    return server


def entries(server):
    """Return the entries of the fleet by ID."""
    return {record.id: record for record in server.services.directory.workers()}


def enabled(server):
    """Return the IDs of the Workers that are enabled."""
    return sorted(worker_id for worker_id, record in entries(server).items() if record.enabled)


async def change(server, action, ids=IDS, *, actor=ANN, **labels):
    """Change Workers."""
    return await server.services.bulk_changes.change(action, ids, added_labels=labels, actor=actor)


async def undo(server, number, actor=ANN):
    """Undo a change."""
    return await server.services.bulk_changes.undo(number, actor=actor)


async def events_after(server, number):
    """Return action, subject and details of the audit events from a number on."""
    found = await server.services.store.read(
        lambda conn: audit_log.events_after(conn, after=number - 1, limit=100)
    )
    return [(e.event.action, e.event.subject, e.event.details) for e in found]


async def test_a_change_is_one_group_in_the_audit_log(fleet):
    """The first event has the action and the count; an event for each changed Worker follows, with the number of the first."""
    done = await change(fleet, BulkAction.DISABLE, [*IDS, "gone"])

    assert (done.changed, done.unchanged, done.gone) == (["w-1", "w-2", "w-3"], ["w-4"], ["gone"])
    group = {"group": str(done.number)}
    assert await events_after(fleet, done.number) == [
        (CHANGED, "workers", {"action": "disable", "count": "3"}),
        *(("worker.disabled", f"worker:{worker_id}", group) for worker_id in ("w-1", "w-2", "w-3")),
    ]
    again = await change(fleet, BulkAction.DISABLE)
    assert (again.number, again.undo_until, again.unchanged) == (None, None, IDS)


async def test_one_worker_that_cannot_be_changed_stops_the_whole_change(fleet):
    """A Worker that would get too many labels is named, and no other is changed."""
    full = {f"k{number}": "" for number in range(32)}
    await fleet.services.workers.change("w-3", labels=full, actor=ANN)

    with pytest.raises(InvalidInputError, match="'w-3' would have more"):
        await change(fleet, BulkAction.LABEL, rack="7")

    assert "rack" not in entries(fleet)["w-1"].labels


async def test_only_workers_that_were_shown_are_changed(fleet):
    """If other Workers match, or the count differs, or neither is given, nothing is changed; if fewer match, those are changed."""

    async def change_found(search, **which):
        wanted = {"match": None, "expected": None} | which
        return await fleet.services.bulk_changes.change_found(
            BulkAction.DISABLE, search, added_labels={}, actor=ANN, **wanted
        )

    for search, which, code in (
        ("id:w-", {"match": seal_match(IDS[:3])}, "matches_changed"),
        ("id:w-", {"match": ""}, "matches_changed"),
        ("id:w-", {"expected": 3}, "match_count_differs"),
        ("id:w-", {"expected": 3, "match": seal_match(IDS)}, "match_count_differs"),
        ("id:w-", {}, "invalid_input"),
        ("nowhere", {"expected": 0}, "invalid_input"),
    ):
        with pytest.raises((ConflictError, InvalidInputError)) as refused:
            await change_found(search, **which)
        assert refused.value.code == code
    assert enabled(fleet) == IDS[:3]

    done = await change_found("id:w- -id:=w-1", match=seal_match(IDS), expected=3)

    assert enabled(fleet) == ["w-1"]
    assert (await events_after(fleet, done.number))[0][2]["search"] == "id:w- -id:=w-1"


async def test_a_secret_in_a_search_is_not_in_the_audit_log(fleet):
    """An API key pasted into the search is hidden."""
    _, key = await fleet.services.workers.add("p", worker_id="p", labels={}, issue_key=True, actor=ANN)
    search = f"-name:{key.text.reveal()} id:w-"
    done = await fleet.services.bulk_changes.change(
        BulkAction.DISABLE, IDS, added_labels={}, search=search, actor=ANN
    )

    assert key.text.reveal()[-20:] not in str(await events_after(fleet, done.number))


@pytest.mark.parametrize("action", [BulkAction.DISABLE, BulkAction.ENABLE])
async def test_undoing_a_change_restores_each_worker(fleet, action):
    """The Workers that were changed are changed back, those that were not stay as they are."""
    before = enabled(fleet)
    done = await change(fleet, action)

    undone = await undo(fleet, done.number)

    assert (undone.restored, undone.changed_since, undone.gone) == (done.changed, [], [])
    assert enabled(fleet) == before
    (first, _, details), *each = await events_after(fleet, undone.number)
    assert (first, details["undone"], len(each)) == (UNDONE, str(done.number), len(done.changed))


def disabling(server):
    """Return for each Worker whether it is enabled, its note and its end."""
    return {
        worker_id: (record.enabled, record.disabled_note, record.disabled_until)
        for worker_id, record in entries(server).items()
    }


async def disable_until(server, worker_id, until):
    """Disable a Worker with a note, until a time."""
    with_note = Disabling(note="disk is replaced", until=until)
    await server.services.workers.change(worker_id, enabled=False, disabling=with_note, actor=ANN)


async def test_undoing_an_enable_restores_note_and_end(fleet):
    """A Worker that had no end stays disabled."""
    await disable_until(fleet, "w-1", "2h")
    await disable_until(fleet, "w-2", "")
    before = disabling(fleet)
    done = await change(fleet, BulkAction.ENABLE)
    assert set(disabling(fleet).values()) == {(True, None, None)}

    await undo(fleet, done.number)

    assert disabling(fleet) == before
    fleet.clock.forward(hours=2)
    assert await fleet.services.disabled_workers.enable_due() == 1


async def test_undoing_an_enable_skips_a_worker_whose_end_has_passed(fleet):
    """It would be enabled by now; the others are disabled again."""
    await disable_until(fleet, "w-1", "10m")
    done = await change(fleet, BulkAction.ENABLE)
    fleet.clock.forward(minutes=10)

    undone = await undo(fleet, done.number)

    assert (undone.restored, undone.changed_since) == (["w-4"], ["w-1"])
    assert disabling(fleet)["w-1"] == (True, None, None)


async def test_undoing_a_disable_leaves_no_note_and_no_end(fleet):
    """Workers that were enabled are enabled again."""
    before = disabling(fleet)
    done = await change(fleet, BulkAction.DISABLE)

    await undo(fleet, done.number)

    assert disabling(fleet) == before
    assert before["w-1"] == (True, None, None)


async def test_disabling_many_removes_an_end_and_undo_restores_it(fleet):
    """A Worker that was disabled until a time counts as changed; the undo restores the end and leaves it disabled."""
    await disable_until(fleet, "w-4", "2h")
    before = disabling(fleet)

    done = await change(fleet, BulkAction.DISABLE)

    assert done.changed == IDS
    assert disabling(fleet)["w-4"] == (False, "disk is replaced", None)
    assert (await events_after(fleet, done.number))[4] == (
        "worker.disable_changed",
        "worker:w-4",
        {"until": "", "until_was": "2026-03-01 14:00:00 UTC", "group": str(done.number)},
    )
    await undo(fleet, done.number)
    assert disabling(fleet) == before


WINDOW = Disabling(note="power is switched off", until="2h")


async def disable_many(server, disabling, *, action=BulkAction.DISABLE, labels=None):
    """Disable the fleet with a note and an end."""
    return await server.services.bulk_changes.change(
        action, IDS, added_labels=labels or {}, disabling=disabling, actor=ANN
    )


async def test_many_workers_are_disabled_with_a_note_until_a_time(fleet):
    """The Server enables them then, except those that were disabled before; note and end are in each event."""
    done = await disable_many(fleet, WINDOW)

    shown = {"note": "power is switched off", "until": "2026-03-01 14:00:00 UTC"}
    assert (done.changed, done.unchanged) == (["w-1", "w-2", "w-3"], ["w-4"])
    assert disabling(fleet)["w-1"] == (False, WINDOW.note, NOON + timedelta(hours=2))
    first, *each = await events_after(fleet, done.number)
    assert first == (CHANGED, "workers", {"action": "disable", **shown, "count": "3"})
    assert each[0] == ("worker.disabled", "worker:w-1", {**shown, "group": str(done.number)})
    fleet.clock.forward(hours=2)
    assert await fleet.services.disabled_workers.enable_due() == 3
    assert enabled(fleet) == ["w-1", "w-2", "w-3"]


async def test_a_worker_disabled_for_longer_stays_disabled(fleet):
    """A Worker cut off in an incident is not enabled at the end of somebody else's maintenance window."""
    await fleet.services.incident_response.cut_off(
        Wanted(subject="worker:w-1", worker_ids=["w-1"], revoke_key=False), actor=BEN
    )
    await disable_until(fleet, "w-2", "3h")
    await disable_until(fleet, "w-3", "1h")
    before = disabling(fleet)

    done = await disable_many(fleet, WINDOW)

    assert (done.changed, done.unchanged) == (["w-3"], ["w-1", "w-2", "w-4"])
    after = disabling(fleet)
    assert after == {**before, "w-3": (False, "disk is replaced", NOON + timedelta(hours=2))}
    fleet.clock.forward(hours=2)
    await fleet.services.disabled_workers.enable_due()
    assert enabled(fleet) == ["w-3"]


async def test_undo_restores_an_end_that_was_postponed(fleet):
    """Workers that were enabled are enabled again."""
    await disable_until(fleet, "w-3", "1h")
    before = disabling(fleet)
    done = await disable_many(fleet, WINDOW)

    undone = await undo(fleet, done.number)

    assert undone.restored == ["w-1", "w-2", "w-3"]
    assert disabling(fleet) == before


async def test_an_invalid_note_or_end_changes_nothing(fleet):
    """A malformed end, a secret in the note, or a note on another action than disabling."""
    _, key = await fleet.services.workers.add("p", worker_id="p", labels={}, issue_key=True, actor=ANN)
    before = disabling(fleet)
    for wanted, action, labels, field in (
        (Disabling(until="soon"), BulkAction.DISABLE, {}, "disabled_until"),
        (Disabling(note=f"key {key.text.reveal()}"), BulkAction.DISABLE, {}, "disabled_note"),
        (WINDOW, BulkAction.ENABLE, {}, "disabled_note"),
        (WINDOW, BulkAction.LABEL, {"rack": "7"}, "disabled_note"),
    ):
        with pytest.raises(InvalidInputError) as refused:
            await disable_many(fleet, wanted, action=action, labels=labels)
        assert refused.value.field == field
    assert disabling(fleet) == before


async def test_undo_restores_labels(fleet):
    """A replaced value is restored, and an added label is removed."""
    before = {worker_id: record.labels for worker_id, record in entries(fleet).items()}
    done = await change(fleet, BulkAction.LABEL, zone="eu-2", rack="", old="")

    assert entries(fleet)["w-1"].labels == {"zone": "eu-2", "old": "", "rack": ""}
    await undo(fleet, done.number)

    assert {worker_id: record.labels for worker_id, record in entries(fleet).items()} == before


async def test_undo_skips_workers_that_were_changed_since(fleet):
    """A Worker that was enabled and disabled again, renamed, deleted or cut off is skipped, and listed."""
    done = await change(fleet, BulkAction.DISABLE)
    one = fleet.services.workers
    await one.change("w-1", enabled=True, actor=BEN)
    await one.change("w-1", enabled=False, actor=BEN)
    await fleet.services.incident_response.cut_off(
        Wanted(subject="worker:w-2", worker_ids=["w-2"], revoke_key=False), actor=BEN
    )
    await one.delete("w-3", actor=BEN)
    with_labels = await change(fleet, BulkAction.LABEL, rack="7")
    await one.change("w-4", name="another", actor=ANN)

    undone = await undo(fleet, done.number)
    assert (undone.number, undone.restored) == (None, [])
    assert (undone.changed_since, undone.gone) == (["w-1", "w-2"], ["w-3"])
    assert enabled(fleet) == []
    labelled = await undo(fleet, with_labels.number)
    assert (labelled.restored, labelled.changed_since) == (["w-1", "w-2"], ["w-4"])
    assert "rack" in entries(fleet)["w-4"].labels


async def test_undo_does_not_enable_a_worker_that_was_disabled_again(fleet):
    """The other operator read that the Worker is disabled: an undo, perhaps by a team that knows of no incident, must not enable it."""
    done = await change(fleet, BulkAction.DISABLE, ["w-1", "w-2", "w-3"])
    await fleet.services.workers.change("w-1", enabled=False, actor=BEN)
    again = await change(fleet, BulkAction.DISABLE, ["w-2", "w-4"], actor=BEN)
    # No event for w-4, which an undo would not enable.
    events = await events_after(fleet, done.number + 4)
    assert [(action, subject) for action, subject, _ in events] == [
        ("worker.disabled", "worker:w-1"),
        ("worker.disabled", "worker:w-2"),
    ]

    undone = await undo(fleet, done.number)

    assert (again.changed, again.unchanged) == ([], ["w-2", "w-4"])
    assert (undone.restored, undone.changed_since) == (["w-3"], ["w-1", "w-2"])
    assert enabled(fleet) == ["w-3"]


async def test_workers_outside_the_scope_count_as_missing(fleet):
    """An operator with a scope changes and undoes only Workers within it, and cannot move one out of it."""
    team = Actor(
        operator="ann",
        role=Role.ADMIN,
        session_id="a",
        address="192.0.2.50",
        scope=scope_of({"team": "etl"}),
    )
    await change(fleet, BulkAction.LABEL, ["w-1", "w-2"], team="etl")
    assert [w.id for w in await fleet.services.bulk_changes.find("id:w-", scope=team.scope)] == ["w-1", "w-2"]

    done = await change(fleet, BulkAction.DISABLE, actor=team)

    assert (done.changed, done.gone) == (["w-1", "w-2"], ["w-3", "w-4"])
    assert enabled(fleet) == ["w-3"]
    with pytest.raises(InvalidInputError, match="must include those to which you are limited"):
        await change(fleet, BulkAction.LABEL, ["w-1"], actor=team, team="ops")
    everything = await change(fleet, BulkAction.LABEL, ["w-1", "w-3"], rack="7")
    undone = await undo(fleet, everything.number, team)
    assert (undone.restored, undone.gone) == (["w-1"], ["w-3"])


async def test_a_limited_operator_cannot_label_workers_into_a_resource_outside(fleet, monkeypatch):
    """Nor by an undo; resources are read once, however many Workers there are, because every writer waits meanwhile."""
    team = msgspec.structs.replace(ANN, scope=scope_of({"team": "etl"}))
    await change(fleet, BulkAction.LABEL, team="etl")
    chosen = ResourceRecord(
        name="billing", audience="x-billing", labels=["role=billing"], created_at=NOON, created_by="x"
    )
    await fleet.services.store.write(lambda tx: resources.insert_resource(tx, chosen))
    read = []

    def count_reads(conn):
        read.append(conn)
        return all_resources(conn)

    all_resources = resources.all_resources
    monkeypatch.setattr(resources, "all_resources", count_reads)

    with pytest.raises(ForbiddenError, match="outside your scope"):
        await change(fleet, BulkAction.LABEL, actor=team, role="billing")
    assert len(read) == 1
    await change(fleet, BulkAction.LABEL, role="billing")
    taken = await change(fleet, BulkAction.LABEL, actor=team, role="etl")
    with pytest.raises(ForbiddenError, match="outside your scope"):
        await undo(fleet, taken.number, team)
    assert {record.labels["role"] for record in entries(fleet).values()} == {"etl"}


async def test_only_the_operator_who_made_a_change_can_undo_it(fleet):
    """Once, for some minutes, and only if the change is reversible."""
    first, second = await change(fleet, BulkAction.DISABLE, ["w-1"]), await change(fleet, BulkAction.ENABLE)
    with pytest.raises(ForbiddenError):
        await undo(fleet, first.number, BEN)
    with pytest.raises(NotFoundError):
        await undo(fleet, first.number + 1)
    undone = await undo(fleet, second.number)
    for number, code in (
        (second.number, "undone_already"),
        (undone.number, "bulk_change_not_found"),
    ):
        with pytest.raises((ConflictError, NotFoundError)) as refused:
            await undo(fleet, number)
        assert refused.value.code == code
    deleted = await change(fleet, BulkAction.DELETE, ["w-4"])
    assert deleted.undo_until is None
    with pytest.raises(ConflictError) as refused:
        await undo(fleet, deleted.number)
    assert refused.value.code == "not_reversible"

    last = await change(fleet, BulkAction.DISABLE, ["w-2"])
    assert last.undo_until == fleet.clock() + UNDO_WITHIN
    fleet.clock.now += UNDO_WITHIN - timedelta(seconds=1)
    assert (await undo(fleet, last.number)).restored == ["w-2"]
    late = await change(fleet, BulkAction.DISABLE, ["w-2"])
    fleet.clock.now += UNDO_WITHIN
    with pytest.raises(ConflictError) as refused:
        await undo(fleet, late.number)
    assert refused.value.code == "undo_expired"
