"""The audit log against an attacker who can write to the database but does not have the key."""

import asyncio
import functools
import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from tests.builders import NOON, event, worker
from tests.store.conftest import AUDIT_KEY, run_directly

from lyftdata.core.errors import ConflictError
from lyftdata.store import Store, StoreError, audit_log
from lyftdata.store.tables import workers

CUT_TWO = "DELETE FROM audit_events WHERE number > 3"
HEAD_BACK = "UPDATE audit_head SET number = 3, hash = (SELECT hash FROM audit_events WHERE number = 3)"
NO_EVENTS = "DELETE FROM audit_events"
NO_HEAD = "DELETE FROM audit_head"


@pytest.fixture
def tamper(database_url: str) -> Callable[..., Any]:
    """Return a function that runs SQL behind the store's back."""
    return functools.partial(run_directly, database_url)


@pytest.fixture
async def log(store: Store) -> Store:
    """Return a store with a log of five events."""
    for n in range(5):
        await write_event(store, n)
    return store


async def write_event(store, n=0):
    """Append one event."""
    await store.write(lambda tx: tx.audit(event(details={"n": str(n)})))


async def reopened(store, database_url):
    """Close a store and open its database again."""
    await store.close()
    return Store.open(database_url, audit_key=AUDIT_KEY)


TAMPERINGS = pytest.mark.parametrize(
    "statements",
    [
        (CUT_TWO,),
        (CUT_TWO, HEAD_BACK),
        (NO_EVENTS,),
        (NO_EVENTS, NO_HEAD),
        ("DELETE FROM audit_events WHERE number = 1",),
        ("UPDATE audit_events SET actor = 'operator:eve' WHERE number = 2",),
        ("UPDATE audit_events SET hash = previous, previous = hash WHERE number = 3",),
        (
            "INSERT INTO audit_events SELECT 6, at, actor, action, subject, address, details, hash, previous"
            " FROM audit_events WHERE number = 5",
        ),
    ],
)


@TAMPERINGS
async def test_later_events_do_not_hide_tampering(log, tamper, statements):
    """Also if the Server, still running, writes further events."""
    tamper(*statements)
    assert not (await log.verify_audit()).ok

    for n in range(3):
        try:
            await write_event(log, n)
        except StoreError:
            # An event was inserted where the next one belongs: it is not overwritten.
            assert "INSERT" in statements[0]

    assert not (await log.verify_audit()).ok


@TAMPERINGS
async def test_a_restart_does_not_hide_tampering(log, tamper, database_url, statements):
    """Tampering while the Server is stopped is detected after its start, and stays detected however much is written."""
    await log.close()
    tamper(*statements)
    again = Store.open(database_url, audit_key=AUDIT_KEY)
    found = [(await again.verify_audit()).ok]
    for n in range(3):
        await write_event(again, n)
        found.append((await again.verify_audit()).ok)
    again = await reopened(again, database_url)
    found.append((await again.verify_audit()).ok)
    await again.close()

    assert not any(found)


async def test_a_removed_or_changed_head_is_reported_permanently(log, tamper, database_url):
    """Even if all events are present: a head that the Server did not write is reported, and the next one does not repair it."""
    await log.close()
    for statement in (NO_HEAD, "UPDATE audit_head SET mac = hash"):
        tamper(statement)
        again = Store.open(database_url, audit_key=AUDIT_KEY)
        await write_event(again)
        report = await again.verify_audit()
        await again.close()
        assert not report.ok
        assert "record of the last event" in report.problem


async def test_a_rollback_to_an_old_head_is_detected_by_a_running_server(log, tamper):
    """A genuine old head with exactly its events does not pass: the Server knows that it wrote more."""
    [(number, digest, mac)] = tamper("SELECT number, hash, mac FROM audit_head")
    await write_event(log, 5)

    tamper(
        "DELETE FROM audit_events WHERE number > 5",
        "UPDATE audit_head SET number = :number, hash = :hash, mac = :mac",
        number=number,
        hash=digest,
        mac=mac,
    )

    report = await log.verify_audit()
    assert (report.ok, report.first_bad) == (False, 6)
    assert report.problem == "The log ends at event 5, but event 6 was written."


async def test_a_log_does_not_verify_with_another_key(log, database_url):
    """Its events and head were authenticated with the first key."""
    await log.close()
    other = Store.open(database_url, audit_key=b"b" * 32)
    report = await other.verify_audit()
    await other.close()

    assert not report.ok


async def test_a_new_log_verifies_and_continues_after_a_restart(store, database_url):
    """The events of several runs form one chain."""
    assert (await store.verify_audit()).ok
    await write_event(store, 1)
    again = await reopened(store, database_url)
    await write_event(again, 2)
    report = await again.verify_audit()
    await again.close()

    assert (report.ok, report.checked) == (True, 2)


async def test_the_events_of_a_failed_operation_leave_no_gap(store):
    """Within one batch: events of the failed operation are gone, and the next event takes their number."""

    def failing(tx):
        tx.audit(event("never.happened"))
        tx.audit(event("never.happened"))
        raise ConflictError("no", "no")

    def twice(tx):
        tx.audit(event("first"))
        tx.audit(event("second"))

    go_on = threading.Event()
    held = asyncio.ensure_future(store.write(lambda _tx: go_on.wait(180)))
    outcomes = asyncio.gather(*map(store.write, (twice, failing, twice)), return_exceptions=True)
    await asyncio.sleep(0)
    go_on.set()
    await held
    await outcomes

    events = await store.read(lambda conn: audit_log.events_after(conn, after=0, limit=10))
    assert [(e.number, e.event.action) for e in events] == [
        (1, "first"),
        (2, "second"),
        (3, "first"),
        (4, "second"),
    ]
    assert (await store.verify_audit()).ok


async def test_a_decision_is_not_stored_without_its_event(store):
    """If the event cannot be written, nothing is."""

    def op(tx):
        workers.insert_worker(tx, worker("w-1"), unique_name=True)
        tx.audit(event(details={"n": object()}))  # not serializable

    with pytest.raises(TypeError):
        await store.write(op)

    assert await store.read(lambda conn: workers.find_worker(conn, "w-1")) is None
    assert (await store.verify_audit()).checked == 0


async def test_the_events_of_a_worker_include_its_cut_offs(store):
    """Found by the whole ID, both as a cut-off Worker and as one connected with the revoked key."""
    found = {}
    for details in (
        {"workers": "w-1 w-10", "by_key": ""},
        {"workers": "", "by_key": "w-2"},
    ):
        await store.write(
            lambda tx, details=details: tx.audit(
                event(action="incident.cut_off", subject="api_key:press", details=details)
            )
        )
    await write_event(store)

    for worker_id in ("w-1", "w-10", "w-2", "w-0", "1", ""):
        subject = f"worker:{worker_id}"
        events = await store.read(
            lambda conn, subject=subject: audit_log.list_events(
                conn, limit=9, wanted=audit_log.AuditFilter(subject=subject)
            )
        )
        found[worker_id] = [chained.number for chained in events]

    assert found == {"w-1": [3, 1], "w-10": [1], "w-2": [2], "w-0": [], "1": [], "": []}


async def test_every_kind_of_event_is_listed_once(store):
    """In alphabetical order, however many events there are; an empty log has none."""
    assert await store.read(audit_log.known_actions) == []
    for action in ("worker.disabled", "api_key.issued", "worker.disabled", "worker.created"):
        await store.write(lambda tx, action=action: tx.audit(event(action=action)))

    assert await store.read(audit_log.known_actions) == [
        "api_key.issued",
        "worker.created",
        "worker.disabled",
    ]


async def test_events_are_found_by_actor_time_and_action(store):
    """An operator by name; both sides of both ends of a period; a wildcard only at the end; and after a number."""
    recorded = [
        event(actor="operator:olga", action="worker.disabled", at=NOON),
        event(actor="operator:ann", action="worker.enabled", at=NOON + timedelta(seconds=1)),
        event(actor="server", action="signing_key.created", at=NOON + timedelta(seconds=2)),
    ]
    for one in recorded:
        await store.write(lambda tx, one=one: tx.audit(one))
    for wanted, found in (
        ({"actor": "olga"}, [1]),
        ({"actor": "operator:ann"}, [2]),
        ({"actor": "server"}, [3]),
        ({"actor": "ol"}, []),
        ({"since": NOON + timedelta(seconds=1)}, [3, 2]),
        ({"until": NOON + timedelta(seconds=1)}, [1]),
        ({"action": "worker.*"}, [2, 1]),
        ({"action": "worker.%"}, []),
        ({"action": "work_r.*"}, []),
        ({"action": "worker.enabled", "actor": "ann"}, [2]),
    ):
        asked = audit_log.AuditFilter(**wanted)
        events = await store.read(
            lambda conn, asked=asked: audit_log.list_events(conn, limit=9, wanted=asked)
        )
        assert [one.number for one in events] == found, wanted
        after = await store.read(
            lambda conn, asked=asked: audit_log.events_after(conn, after=1, limit=9, wanted=asked)
        )
        assert [one.number for one in after] == [number for number in reversed(found) if number > 1], wanted


async def test_workers_changed_since_an_event_are_found(store):
    """By operators and API tokens, in their own events or in a cut-off; earlier changes, and the Worker's own, do not count."""

    def op(tx):
        for actor, action, subject, details in (
            ("operator:ann", "worker.disabled", "worker:before", {}),
            ("operator:ann", "worker.renamed", "worker:renamed", {}),
            ("api_token:ci", "worker.labelled", "worker:labelled", {}),
            ("worker:w-9", "worker.key_rotated", "worker:w-9", {}),
            ("operator:ann", "api_key.allowed", "worker:key", {}),
            ("operator:ann", "incident.cut_off", "api_key:k", {"workers": "cut-1 cut-2", "by_key": "cut-3"}),
        ):
            tx.audit(event(actor=actor, action=action, subject=subject, details=details))

    await store.write(op)

    found = await store.read(lambda conn: audit_log.workers_changed_after(conn, after=1))

    assert found == {"renamed", "labelled", "cut-1", "cut-2", "cut-3"}


async def test_the_changes_of_an_operator_within_a_time_are_counted(store):
    """Changes of one Worker and the Workers of cut-offs, with any of the operator's identities, except those confirmed by another operator."""
    deleted = {"action": "delete", "workers": "a b c", "by_key": "d"}
    later = NOON + timedelta(seconds=1)
    for action, actor, at, details in (
        ("worker.deleted", "operator:ann", NOON, {}),
        ("worker.deleted", "operator:ann", later, {}),
        ("worker.deleted", "api_token:anns", later, {}),
        ("worker.deleted", "operator:ben", later, {}),
        ("worker.disabled", "operator:ann", later, {}),
        ("worker.deleted", "operator:ann", later, {"confirmed_by": "operator:ben"}),
        ("incident.cut_off", "operator:ann", later, deleted),
        ("incident.cut_off", "operator:ann", later, deleted | {"action": "disable"}),
    ):
        given = event(action=action, actor=actor, at=at, details=details)
        await store.write(lambda tx, given=given: tx.audit(given))

    def count(action, cut_off):
        return lambda conn: audit_log.count_by(
            conn, ["operator:ann", "api_token:anns"], action, cut_off=cut_off, since=NOON
        )

    assert await store.read(count("worker.deleted", "delete")) == 2 + 3
    assert await store.read(count("worker.disabled", "disable")) == 1 + 3


async def test_events_about_a_subject_since_an_event_are_found(store):
    """Those after the number, with one of the actions, oldest first."""
    for action in ("operator.role_set", "operator.signed_in", "operator.password_set"):
        await store.write(lambda tx, action=action: tx.audit(event(action=action, subject="operator:ann")))
    wanted = {"operator.role_set", "operator.password_set"}

    def about(name, after):
        return lambda conn: audit_log.events_about(conn, name, wanted, after=after)

    found = [one.event.action for one in await store.read(about("operator:ann", 0))]
    assert found == ["operator.role_set", "operator.password_set"]
    assert [one.number for one in await store.read(about("operator:ann", 1))] == [3]
    assert await store.read(about("operator:ben", 0)) == []
