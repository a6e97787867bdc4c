"""Each noun: what is kept, what stands in its way, and that of two callers exactly one wins."""

import asyncio
import functools
import gc
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from tests.builders import NOON, api_key, event, worker
from tests.store.conftest import AUDIT_KEY, ON_SQLITE, run_behind_its_back

from lyftdata.core.errors import ConflictError, NotFoundError
from lyftdata.core.records import (
    AdminSessionRecord,
    OperatorRecord,
    RefusalAttempt,
    Role,
    Sample,
    SigningKeyRecord,
    Strategy,
    WorkerSessionRecord,
    WorkerTraces,
)
from lyftdata.store import audit_log
from lyftdata.store.changes import ApiKeyChanged, WorkerChanged
from lyftdata.store.schema import metadata
from lyftdata.store.tables import (
    activity,
    admin_sessions,
    api_keys,
    enrollment_key_uses,
    enrollment_proofs,
    operators,
    refusals,
    samples,
    signing_keys,
    worker_sessions,
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


async def add(store, *records):
    """Add Worker entries."""
    for record in records:
        await store.write(lambda tx, record=record: workers.insert_worker(tx, record, unique_name=False))


async def winners(operations):
    """Run operations at once; return how many did not fail."""
    outcomes = await asyncio.gather(*operations, return_exceptions=True)
    return sum(not isinstance(outcome, Exception) for outcome in outcomes)


# --- Workers ---------------------------------------------------------------------------------------------


async def test_a_worker_is_kept_as_it_is(store):
    """Every field of an entry comes back, times in UTC."""
    await add(store, ENROLLED)

    assert await store.read(lambda conn: workers.find_by_thumbprint(conn, "t" * 43)) == ENROLLED
    assert await store.read(lambda conn: workers.find_worker(conn, "w-x")) is None


async def test_of_twenty_that_race_for_an_id_one_wins(store):
    """The same ID is given once."""
    racing = [
        store.write(lambda tx: workers.insert_worker(tx, ENROLLED, unique_name=False)) for _ in range(20)
    ]

    assert await winners(racing) == 1


async def test_of_twenty_that_race_for_an_identity_key_one_wins(store):
    """Two entries never have one identity key."""
    racing = [
        store.write(
            lambda tx, n=n: workers.insert_worker(
                tx, msgspec.structs.replace(ENROLLED, id=f"w-{n}"), unique_name=False
            )
        )
        for n in range(20)
    ]

    assert await winners(racing) == 1


async def test_a_live_name_is_taken_and_a_superseded_one_is_free(store):
    """A name may be given again once its holder was superseded."""
    await add(store, worker("w-1", name="press"))
    fresh = worker("w-2", name="press")
    with pytest.raises(ConflictError) as taken:
        await store.write(lambda tx: workers.insert_worker(tx, fresh, unique_name=True))
    assert taken.value.code == "worker_name_taken"

    await store.write(lambda tx: workers.replace_worker(tx, worker("w-1", name="press", superseded_by="w-2")))
    await store.write(lambda tx: workers.insert_worker(tx, fresh, unique_name=True))

    holder = await store.read(lambda conn: workers.find_live_by_name(conn, "press"))
    assert holder is not None
    assert holder.id == "w-2"


async def test_deleting_takes_a_worker_out_of_its_keys(store, told):
    """A key for one Worker becomes a key for nobody: a new Worker under the old ID does not inherit it."""
    await add(store, worker("w-1"), worker("w-2"))
    key = api_key(for_all_workers=False, worker_ids=frozenset({"w-1"}))
    await store.write(lambda tx: api_keys.insert_api_key(tx, key))
    told.clear()

    await store.write(lambda tx: workers.delete_worker(tx, "w-1"))

    (left,) = await store.read(lambda conn: list(api_keys.all_api_keys(conn)))
    assert (left.for_all_workers, left.worker_ids) == (False, frozenset())
    assert told == [ApiKeyChanged(key.public_id, left), WorkerChanged("w-1", None)]
    with pytest.raises(NotFoundError):
        await store.write(lambda tx: workers.delete_worker(tx, "w-1"))


async def test_who_used_a_key_last_is_found(store):
    """By the name of the key, whatever its generation."""
    await add(store, worker("w-1"), worker("w-2"))
    left = [WorkerTraces(worker_id="w-1", api_key_name="press-keys"), WorkerTraces(worker_id="w-2")]
    await store.write(lambda tx: activity.upsert_traces(tx, left))

    assert await store.read(lambda conn: activity.ids_by_api_key(conn, "press-keys")) == {"w-1"}


async def test_what_is_written_each_second_leaves_few_cycles(store):
    """Or few: of those Python takes a long look at everything that moves, and nobody is answered meanwhile."""
    await add(store, worker("w-1"))
    seen = [WorkerTraces(worker_id="w-1", last_seen_at=NOON)]
    await store.write(lambda tx: activity.upsert_traces(tx, seen))
    gc.collect()
    gc.disable()
    try:
        for _ in range(50):
            await store.write(lambda tx: activity.upsert_traces(tx, seen))
        left = gc.collect()
    finally:
        gc.enable()

    # A statement of SQLAlchemy's leaves ten; one that holds a copy of its table left 75.
    assert left < 50 * 20


async def test_minutes_are_kept_in_order_and_let_go(store):
    """A minute written twice is one; those before the bound are gone."""
    minutes = [NOON + timedelta(minutes=n) for n in (0, 2, 1, 1)]
    for n, at in enumerate(minutes):
        sample = Sample(at=at, online=n, admitted=n, refused=0)
        await store.write(lambda tx, sample=sample: samples.add_sample(tx, sample, keep_since=NOON))
    kept = await store.read(lambda conn: samples.summed_samples(conn, since=NOON, step_s=60))
    assert [(sample.at, sample.online) for sample in kept] == [(NOON, 0), (minutes[2], 3), (minutes[1], 1)]
    last = Sample(at=NOON + timedelta(minutes=3), online=0, admitted=0, refused=0)
    await store.write(lambda tx: samples.add_sample(tx, last, keep_since=minutes[1]))

    assert len(await store.read(lambda conn: samples.summed_samples(conn, since=NOON, step_s=60))) == 2


async def test_minutes_are_added_up(store):
    """Of each step the most that were connected and the sums; steps without a minute are left out."""
    for minute, online in ((0, 3), (9, 5), (10, 2), (35, 7)):
        sample = Sample(at=NOON + timedelta(minutes=minute), online=online, admitted=minute, refused=1)
        await store.write(lambda tx, sample=sample: samples.add_sample(tx, sample, keep_since=NOON))

    found = await store.read(lambda conn: samples.summed_samples(conn, since=NOON, step_s=600))

    assert [((s.at - NOON).seconds // 60, s.online, s.admitted, s.refused) for s in found] == [
        (0, 5, 9, 2),
        (10, 2, 10, 1),
        (30, 7, 35, 1),
    ]


# --- sessions of Workers ---------------------------------------------------------------------------------


def connected(worker_id, minute, **fields):
    """Return a session that began so many minutes after noon."""
    given = {"worker_id": worker_id, "started_at": NOON + timedelta(minutes=minute), "address": "192.0.2.1"}
    return WorkerSessionRecord(**(given | fields))


async def test_a_session_is_written_over_itself_when_it_ends(store):
    """Begun and ended are one row; of a Worker that is gone none is kept."""
    await add(store, worker("w-1"), worker("w-2"))
    begun = [connected("w-1", 0), connected("w-1", 5), connected("w-2", 1), connected("w-gone", 1)]
    await store.write(lambda tx: worker_sessions.upsert_sessions(tx, begun))
    ended = connected("w-1", 0, ended_at=NOON + timedelta(minutes=4), end="lost", host={"hostname": "h"})
    await store.write(lambda tx: worker_sessions.upsert_sessions(tx, [ended]))

    assert await store.read(lambda conn: worker_sessions.list_sessions(conn, "w-1")) == [begun[1], ended]
    await store.write(lambda tx: workers.delete_worker(tx, "w-1"))
    assert await store.read(lambda conn: worker_sessions.list_sessions(conn, "w-1")) == []
    assert len(await store.read(lambda conn: worker_sessions.list_sessions(conn, "w-2"))) == 1


async def test_those_whom_the_last_server_left_are_counted(store):
    """However it ended: each Worker once, neither who has gone by itself nor who was cut off by an earlier end."""
    names = [f"w-{n}" for n in range(6)]
    await add(store, *map(worker, names))
    assert await store.read(worker_sessions.count_cut_off) == 0
    stopped = {"ended_at": NOON + timedelta(minutes=9), "end": "server_stopped"}
    sessions = [
        connected("w-0", 0, ended_at=NOON + timedelta(minutes=2), end="server_crashed"),
        connected("w-1", 0, **stopped),
        connected("w-2", 8, **stopped),
        connected("w-2", 0, **(stopped | {"ended_at": NOON + timedelta(minutes=8.5)})),
        connected("w-3", 0, **(stopped | {"end": "lost"})),
    ]
    await store.write(lambda tx: worker_sessions.upsert_sessions(tx, sessions))
    assert await store.read(worker_sessions.count_cut_off) == 2

    left_open = [connected(name, 20) for name in ("w-3", "w-4", "w-5")]
    await store.write(lambda tx: worker_sessions.upsert_sessions(tx, left_open))
    await store.write(lambda tx: worker_sessions.close_open(tx, end="server_crashed"))
    assert await store.read(worker_sessions.count_cut_off) == 3


async def test_the_last_sessions_of_each_worker_are_kept(store):
    """A Worker that comes and goes all the time pushes out its own sessions, and nobody else's."""
    await add(store, worker("w-1"), worker("w-2"))
    await store.write(lambda tx: worker_sessions.upsert_sessions(tx, [connected("w-2", 0)]))
    for start in (0, 15):
        many = [connected("w-1", start + n) for n in range(15)]
        await store.write(lambda tx, many=many: worker_sessions.upsert_sessions(tx, many))

    kept = await store.read(lambda conn: worker_sessions.list_sessions(conn, "w-1"))
    assert [(s.started_at - NOON).seconds // 60 for s in kept] == list(range(29, 9, -1))
    assert len(await store.read(lambda conn: worker_sessions.list_sessions(conn, "w-2"))) == 1


# --- API keys --------------------------------------------------------------------------------------------


async def test_a_key_and_its_scope_are_kept(store):
    """Every field comes back, the chosen Workers too."""
    key = api_key(
        for_all_workers=False, worker_ids=frozenset({"w-1", "w-2"}), expires_at=NOON, digest=b"d" * 32
    )
    await store.write(lambda tx: api_keys.insert_api_key(tx, key))

    assert await store.read(lambda conn: api_keys.find_by_name(conn, key.name)) == [key]


async def test_of_twenty_that_race_for_a_key_name_one_wins(store):
    """A key's name is given once, also after it was revoked."""
    racing = [
        store.write(lambda tx, n=n: api_keys.insert_api_key(tx, api_key(f"PUBLIC{n:04}", name="press-keys")))
        for n in range(20)
    ]

    assert await winners(racing) == 1
    await store.write(lambda tx: api_keys.revoke_api_key(tx, "press-keys", NOON))
    with pytest.raises(ConflictError):
        await store.write(lambda tx: api_keys.insert_api_key(tx, api_key("OTHER", name="press-keys")))


async def test_rotation_ends_the_old_generation_at_the_grace(store):
    """The old generation gets an end and never a later one than it had."""
    end = NOON + timedelta(hours=1)
    await store.write(lambda tx: api_keys.insert_api_key(tx, api_key("A", name="press-keys")))
    second = api_key("B", name="press-keys", generation=2)
    await store.write(lambda tx: api_keys.rotate_api_key(tx, second, previous_expire_at=end))
    third = api_key("C", name="press-keys", generation=3)
    await store.write(
        lambda tx: api_keys.rotate_api_key(tx, third, previous_expire_at=end + timedelta(days=1))
    )

    ends = [
        key.expires_at for key in await store.read(lambda conn: api_keys.find_by_name(conn, "press-keys"))
    ]
    assert ends == [end, end + timedelta(days=1), None]


async def test_revoking_takes_every_generation_and_tells(store, told):
    """No generation of a revoked key works on."""
    await store.write(lambda tx: api_keys.insert_api_key(tx, api_key("A", name="press-keys")))
    second = api_key("B", name="press-keys", generation=2)
    await store.write(
        lambda tx: api_keys.rotate_api_key(tx, second, previous_expire_at=NOON + timedelta(days=1))
    )
    told.clear()

    revoked = await store.write(lambda tx: api_keys.revoke_api_key(tx, "press-keys", NOON))

    assert [key.revoked_at for key in revoked] == [NOON, NOON]
    assert {change.public_id for change in told} == {"A", "B"}


async def test_last_use_is_noted(store):
    """When and by whom a key was last used comes back; an unused one has none."""
    await store.write(lambda tx: api_keys.insert_api_key(tx, api_key("A")))
    await store.write(lambda tx: api_keys.insert_api_key(tx, api_key("B")))
    await store.write(lambda tx: api_keys.touch_last_used(tx, {"A": (NOON, "w-1"), "gone": (NOON, "w-2")}))

    assert await store.read(lambda conn: api_keys.last_used(conn, ["A", "B"])) == {"A": (NOON, "w-1")}


async def test_the_latest_use_of_an_enrollment_key_is_kept(store):
    """What another Server noted later stays; a key that was never used has no entry."""
    later = NOON + timedelta(seconds=1)
    for uses in ({"aa": NOON}, {"aa": later, "bb": NOON}, {"aa": NOON}):
        await store.write(lambda tx, uses=uses: enrollment_key_uses.touch_last_used(tx, uses))

    found = await store.read(lambda conn: enrollment_key_uses.last_used(conn, ["aa", "bb", "cc"]))
    assert found == {"aa": later, "bb": NOON}


async def test_a_fleet_with_a_key_for_each_worker(store, told):
    """More keys than a database takes values in one statement work, and so does an empty list."""
    many = [f"P{n:05}" for n in range(40_000)]
    await store.write(lambda tx: api_keys.insert_api_key(tx, api_key("P00007")))
    await store.write(lambda tx: api_keys.touch_last_used(tx, {"P00007": (NOON, "w-1")}))
    await store.write(lambda tx: api_keys.touch_last_used(tx, {}))

    assert await store.read(lambda conn: api_keys.last_used(conn, many)) == {"P00007": (NOON, "w-1")}
    assert await store.read(lambda conn: api_keys.last_used(conn, [])) == {}


async def test_a_generation_is_made_once(store):
    """Of twenty that rotate a key to its second generation at once, one does."""
    await store.write(lambda tx: api_keys.insert_api_key(tx, api_key("A", name="press-keys")))
    racing = [
        store.write(
            lambda tx, n=n: api_keys.rotate_api_key(
                tx, api_key(f"B{n}", name="press-keys", generation=2), previous_expire_at=NOON
            )
        )
        for n in range(20)
    ]
    outcomes = await asyncio.gather(*racing, return_exceptions=True)

    assert sum(outcome is None for outcome in outcomes) == 1
    assert {outcome.code for outcome in outcomes if isinstance(outcome, ConflictError)} == {
        "api_key_name_taken"
    }


# --- traces, proofs, operators, sessions, signing keys ---------------------------------------------------


async def test_traces_are_written_over_and_go_with_their_worker(store):
    """The latest trace counts; those of a deleted Worker are neither kept nor written again."""
    await add(store, worker("w-1"))
    trace = WorkerTraces(
        worker_id="w-1", last_seen_at=NOON, address="192.0.2.1", api_key_name="k", host={"os": "x"}
    )
    later = msgspec.structs.replace(trace, last_seen_at=NOON + timedelta(seconds=1))
    for each in (trace, later):
        await store.write(lambda tx, each=each: activity.upsert_traces(tx, [each]))
    assert await store.read(lambda conn: activity.find_traces(conn, ["w-1", "w-2"])) == {"w-1": later}
    assert await store.read(activity.all_seen_ids) == {"w-1"}

    await store.write(lambda tx: workers.delete_worker(tx, "w-1"))
    await store.write(lambda tx: activity.upsert_traces(tx, [trace]))
    assert await store.read(activity.all_seen_ids) == set()


async def test_of_twenty_that_spend_a_proof_one_does(store):
    """A proof is used up once, even in a race; its memory ends with it."""
    # Over by the database's clock as well, whatever day it is.
    end = NOON - timedelta(days=3650)
    spend = [store.write(lambda tx: enrollment_proofs.spend_proofs(tx, [("j", end)])) for _ in range(20)]

    assert sum(map(len, await asyncio.gather(*spend))) == 1
    assert await store.write(lambda tx: enrollment_proofs.prune(tx, end - timedelta(seconds=1))) == 0
    assert await store.write(lambda tx: enrollment_proofs.prune(tx, end)) == 1


async def test_operators_and_their_sessions(store):
    """Sessions are found by their token's digest with the operator as they are now, and go with them."""
    ada = OperatorRecord(name="ada", role=Role.VIEWER, password_hash="$argon2id$…", created_at=NOON)
    session = AdminSessionRecord(
        id="s1", operator="ada", digest=b"d" * 32, created_at=NOON, expires_at=NOON, address="192.0.2.1"
    )
    await store.write(lambda tx: operators.insert_operator(tx, ada))
    with pytest.raises(ConflictError):
        await store.write(lambda tx: operators.insert_operator(tx, ada))
    await store.write(lambda tx: admin_sessions.insert_session(tx, session))
    admin = msgspec.structs.replace(ada, role=Role.ADMIN)
    await store.write(lambda tx: operators.replace_operator(tx, admin))

    assert await store.read(lambda conn: admin_sessions.find_with_operator(conn, b"d" * 32)) == (
        session,
        admin,
    )
    await store.write(lambda tx: operators.delete_operator(tx, "ada"))
    assert await store.read(lambda conn: admin_sessions.find_with_operator(conn, b"d" * 32)) is None


async def test_signing_keys_are_kept_in_the_order_in_which_they_sign(store):
    """What was sealed comes back byte by byte."""
    keys = [
        SigningKeyRecord(
            kid=kid,
            algorithm="ES256",
            encrypted_private_key=b"\x00" + kid.encode(),
            created_at=NOON,
            signs_from=at,
        )
        for kid, at in (("late", NOON + timedelta(days=1)), ("early", NOON))
    ]
    for key in keys:
        await store.write(lambda tx, key=key: signing_keys.insert_signing_key(tx, key))
    await store.write(lambda tx: signing_keys.set_retires_at(tx, "early", NOON))

    found = await store.read(signing_keys.all_signing_keys)
    assert found == [msgspec.structs.replace(keys[1], retires_at=NOON), keys[0]]
    await store.write(lambda tx: signing_keys.delete_signing_key(tx, "early"))
    assert len(await store.read(signing_keys.all_signing_keys)) == 1


# --- refusals --------------------------------------------------------------------------------------------


def attempt(n, **fields):
    """Return a refused attempt."""
    given: dict[str, Any] = {
        "reference": f"R{n:07}",
        "code": "wrong_api_key",
        "at": NOON + timedelta(seconds=n),
        "address": "192.0.2.1",
        "claimed_worker": "w-1",
        "detail": f"d{n}",
        "proved": False,
    }
    return RefusalAttempt(**(given | fields))


async def test_refusals_are_grouped_and_found_by_reference(store):
    """One cause, Worker and address count together; each attempt is found by its reference."""
    await store.write(
        lambda tx: refusals.record_refusals(tx, [attempt(1), attempt(2), attempt(3, code="unknown_worker")])
    )
    await store.write(lambda tx: refusals.record_refusals(tx, [attempt(4)]))

    first, second = await store.read(refusals.list_groups)
    assert (first.code, first.count, first.first_at, first.last_reference) == (
        "wrong_api_key",
        3,
        NOON + timedelta(seconds=1),
        "R0000004",
    )
    assert second.code == "unknown_worker"
    assert await store.read(lambda conn: refusals.find_reference(conn, "R0000002")) == attempt(2)
    assert await store.read(lambda conn: refusals.find_reference(conn, "NOPE")) is None


async def test_a_flood_of_refusals_is_bounded(store, monkeypatch):
    """However many attempts and however many claimed Workers, only the latest are kept."""
    monkeypatch.setattr(refusals, "MAX_GROUPS", 10)
    monkeypatch.setattr(refusals, "MAX_ATTEMPTS", 20)
    for start in range(0, 100, 10):
        flood = [attempt(start + n, claimed_worker=f"w-{start + n}") for n in range(10)]
        await store.write(lambda tx, flood=flood: refusals.record_refusals(tx, flood))

    groups = await store.read(lambda conn: refusals.list_groups(conn, limit=1000))
    assert [group.claimed_worker for group in groups] == [f"w-{n}" for n in range(99, 89, -1)]
    assert await store.read(lambda conn: refusals.find_reference(conn, "R0000079")) is None
    assert await store.read(lambda conn: refusals.find_reference(conn, "R0000080")) is not None


# --- the audit log ---------------------------------------------------------------------------------------


@pytest.fixture
async def audited(store, database_url):
    """Return a function that runs SQL behind the store's back, on a log of five events."""
    for n in range(5):
        await store.write(
            lambda tx, n=n: tx.audit(event(details={"n": str(n)}, at=NOON + timedelta(microseconds=n)))
        )

    return functools.partial(run_behind_its_back, database_url)


async def test_an_untouched_log_is_whole(store, audited):
    """Events come back as they were written, to the microsecond, and the chain fits."""
    report = await store.verify_audit()

    assert (report.ok, report.checked, report.head_number) == (True, 5, 5)
    newest, *_ = await store.read(lambda conn: audit_log.list_events(conn, limit=2))
    assert newest.event.details == {"n": "4"}
    assert [
        e.number for e in await store.read(lambda conn: audit_log.list_events(conn, limit=2, before=3))
    ] == [
        2,
        1,
    ]


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE audit_events SET actor = 'operator:eve' WHERE number = 3",
        'UPDATE audit_events SET details = \'{"n": "9"}\' WHERE number = 1',
        "UPDATE audit_events SET at = '2020-01-01 00:00:00.000000' WHERE number = 5",
        "DELETE FROM audit_events WHERE number = 2",
        "DELETE FROM audit_events WHERE number = 5",
        "DELETE FROM audit_events",
        "UPDATE audit_events SET number = -1 WHERE number = 1",
        "UPDATE audit_events SET number = number + 1000 WHERE number >= 4",
        "UPDATE audit_head SET number = 4",
        "UPDATE audit_head SET number = 4, hash = (SELECT hash FROM audit_events WHERE number = 4)",
        "DELETE FROM audit_head",
    ],
)
async def test_tampering_with_the_log_is_found(store, audited, sql):
    """A row changed, removed or moved, the tail cut, the head rewritten: verification says so."""
    audited(sql)

    report = await store.verify_audit()

    assert not report.ok
    assert report.problem


async def test_swapped_events_are_found(store, audited):
    """Two events that changed places do not fit."""
    for sql in (
        "SET number = -1 WHERE number = 2",
        "SET number = 2 WHERE number = 3",
        "SET number = 3 WHERE number = -1",
    ):
        audited(f"UPDATE audit_events {sql}")

    assert not (await store.verify_audit()).ok


async def test_a_log_removed_whole_is_found(store, audited):
    """An empty log beside signing keys is no young log: their making would stand in it."""
    key = SigningKeyRecord(
        kid="k", algorithm="ES256", encrypted_private_key=b"", created_at=NOON, signs_from=NOON
    )
    await store.write(lambda tx: signing_keys.insert_signing_key(tx, key))
    audited("DELETE FROM audit_events")
    audited("DELETE FROM audit_head")

    assert not (await store.verify_audit()).ok


# --- the schema ------------------------------------------------------------------------------------------


async def test_migrations_make_the_schema_that_the_program_speaks_of(store):
    """Alembic finds no difference between the migrated database and the tables in code."""
    from alembic.autogenerate import compare_metadata
    from alembic.runtime.migration import MigrationContext

    def difference(conn):
        return compare_metadata(MigrationContext.configure(conn), metadata)

    assert await store.read(difference) == []


@ON_SQLITE
async def test_the_database_holds_nothing_to_log_in_with(store, database_url):
    """Neither the audit key nor any plain secret is in the file."""
    await store.write(lambda tx: tx.audit(event()))

    from pathlib import Path

    file = Path(database_url.removeprefix("sqlite:///"))
    content = b"".join(part.read_bytes() for part in file.parent.glob(f"{file.name}*"))
    assert AUDIT_KEY not in content
