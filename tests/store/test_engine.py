"""One writer that commits in batches."""

import asyncio
import contextlib
import os
import random
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
import traceback
from pathlib import Path

import pytest
from sqlalchemy import delete, inspect, select, text
from sqlalchemy import event as sa_event
from sqlalchemy.dialects import postgresql
from sqlalchemy.exc import OperationalError
from sqlalchemy.schema import CreateTable
from tests.builders import NOON, case, event, worker
from tests.store.conftest import AUDIT_KEY, ON_POSTGRESQL, ON_SQLITE, run_directly

from lyftdata.core.errors import ConflictError
from lyftdata.core.records import WorkerTraces
from lyftdata.store import Store, StoreError, UnstorableError, audit_log
from lyftdata.store.changes import WorkerChanged
from lyftdata.store.dialects import dialect
from lyftdata.store.schema import metadata
from lyftdata.store.schema import workers as workers_table
from lyftdata.store.tables import activity, workers
from lyftdata.store.writer import health


def insert(worker_id):
    """Return an operation that adds a Worker."""
    return lambda tx: workers.insert_worker(tx, worker(worker_id), unique_name=True)


def hold_writer(store, *, has_begun=None):
    """Block the writer until the returned event is set, so that other operations queue; `has_begun` is set when it is blocked."""
    go_on = threading.Event()

    def wait(_tx):
        if has_begun is not None:
            has_begun.set()
        go_on.wait(180)

    return go_on, asyncio.ensure_future(store.write(wait))


async def test_a_write_is_visible_to_readers(store):
    """As soon as `write` has returned."""
    await store.write(insert("w-1"))

    assert await store.read(lambda conn: workers.find_worker(conn, "w-1")) == worker("w-1")


@ON_SQLITE
@pytest.mark.parametrize("fails", [False, True])
async def test_a_scan_does_not_change_the_cache_size(store, fails):
    """The cache is small while whole tables are read, and the connection returns to the pool with its usual size."""

    def cache_size(conn):
        return conn.exec_driver_sql("PRAGMA cache_size").scalar()

    def scan(conn):
        during.append(cache_size(conn))
        return 1 // (not fails)

    during: list[int] = []
    usual = await store.read(cache_size)
    with contextlib.suppress(ZeroDivisionError):
        assert await store.read_tables(scan) == 1

    assert abs(during[0]) < abs(usual)
    assert [await store.read(cache_size) for _ in range(4)] == [usual] * 4


async def test_many_changes_share_one_commit(store):
    """Operations that queue while the writer is busy are committed together."""
    commits: list[object] = []
    sa_event.listen(store._engine, "commit", commits.append)
    go_on, first = hold_writer(store)
    rest = [asyncio.ensure_future(store.write(insert(f"w-{n}"))) for n in range(50)]
    await asyncio.sleep(0)
    go_on.set()

    await asyncio.gather(first, *rest)

    assert len(commits) <= 3
    assert await store.read(lambda conn: len(list(workers.all_workers(conn)))) == 50


async def test_a_failed_operation_does_not_affect_its_batch(store):
    """A conflict undoes its own operation completely, and no other."""

    def half_done(tx):
        workers.insert_worker(tx, worker("w-half"), unique_name=True)
        tx.audit(event())
        raise ConflictError("no", "no")

    go_on, first = hold_writer(store)
    outcomes = asyncio.gather(
        store.write(insert("w-1")), store.write(half_done), store.write(insert("w-2")), return_exceptions=True
    )
    await asyncio.sleep(0)
    go_on.set()
    await first

    kinds = [type(outcome) for outcome in await outcomes]
    assert kinds == [type(None), ConflictError, type(None)]
    assert {w.id for w in await store.read(lambda conn: list(workers.all_workers(conn)))} == {"w-1", "w-2"}
    assert (await store.verify_audit()).checked == 0


async def test_changes_are_published_after_the_commit_and_before_the_caller_continues(database_url):
    """So copies in memory are updated before the caller is answered."""
    seen: list[object] = []

    def on_change(changes):
        [(count,)] = run_directly(database_url, "SELECT count(*) FROM workers")
        seen.append(("published", changes[0].worker_id, count))

    store = Store.open(database_url, audit_key=AUDIT_KEY)

    store.deliver_changes_to(on_change)
    await store.write(insert("w-1"))
    seen.append("caller")
    await store.close()

    assert seen == [("published", "w-1", 1), "caller"]


async def test_a_refused_change_is_not_published(store, published):
    """Nor is anything else that was rolled back."""
    await store.write(insert("w-1"))
    with pytest.raises(ConflictError):
        await store.write(insert("w-1"))

    assert published == [WorkerChanged("w-1", worker("w-1"))]


async def test_cancelling_the_caller_leaves_no_half_done_operation(store, published):
    """An operation whose caller is gone is either done and published, or not done at all."""
    go_on, first = hold_writer(store)
    impatient = asyncio.ensure_future(store.write(insert("w-1")))
    await asyncio.sleep(0)
    impatient.cancel()
    go_on.set()
    await first
    await store.write(insert("w-2"))

    there = await store.read(lambda conn: workers.find_worker(conn, "w-1"))
    assert (there is not None) is (WorkerChanged("w-1", worker("w-1")) in published)


@ON_SQLITE
@pytest.mark.parametrize("before", [["w-a"], ["w-a", "w-b"], []])
async def test_if_the_disk_is_full_the_whole_batch_fails(store, published, before):
    """SQLite rolls back the whole transaction: nothing of the batch is stored, and every caller gets an error."""

    def fills_the_disk(tx):
        pages = tx.conn.exec_driver_sql("PRAGMA page_count").scalar()
        tx.conn.exec_driver_sql(f"PRAGMA max_page_count={pages + 1}")
        try:
            for n in range(1_000):
                workers.insert_worker(tx, worker(f"w-big-{n}", name="x" * 64), unique_name=False)
        finally:
            tx.conn.exec_driver_sql("PRAGMA max_page_count=1000000")

    has_begun = threading.Event()
    go_on, first = hold_writer(store, has_begun=has_begun)
    # The operations below are in a later batch.
    assert await asyncio.to_thread(has_begun.wait, 180)
    operations = [*map(insert, before), fills_the_disk, insert("w-after")]
    outcomes = asyncio.gather(*map(store.write, operations), return_exceptions=True)
    await asyncio.sleep(0)
    go_on.set()
    await first

    failures = await outcomes
    assert [type(failure) for failure in failures] == [StoreError] * len(operations)
    assert all("full" in str(failure) for failure in failures)
    assert len(set(map(id, failures))) == len(failures)
    assert await store.read(lambda conn: list(workers.all_workers(conn))) == []
    assert published == []

    await store.write(insert("w-once-there-is-room"))
    assert len(await store.read(lambda conn: list(workers.all_workers(conn)))) == 1


async def test_if_the_commit_fails_the_whole_batch_fails(store, published):
    """In the file and in memory; the next batch continues from the state before."""

    def audited(tx):
        insert("w-1")(tx)
        tx.audit(event())

    def broken(_conn):
        raise OSError("no commit today")

    sa_event.listen(store._engine, "commit", broken)
    outcomes = await asyncio.gather(*map(store.write, (audited, insert("w-2"))), return_exceptions=True)
    sa_event.remove(store._engine, "commit", broken)

    assert [type(outcome) for outcome in outcomes] == [OSError, OSError]
    assert published == []
    await store.write(audited)
    report = await store.verify_audit()
    assert (report.ok, report.checked) == (True, 1)


async def test_an_operation_that_raises_stop_iteration_blocks_no_caller(store):
    """`next()` of an empty iterator in an operation is an error only for its caller."""
    go_on, first = hold_writer(store)
    outcomes = asyncio.gather(
        store.write(lambda _tx: next(iter(()))), store.write(insert("w-1")), return_exceptions=True
    )
    await asyncio.sleep(0)
    go_on.set()
    await first

    assert [type(outcome) for outcome in await asyncio.wait_for(outcomes, 180)] == [RuntimeError, type(None)]
    with pytest.raises(RuntimeError):
        await asyncio.wait_for(store.read(lambda _conn: next(iter(()))), 180)


async def test_reading_does_not_wait_for_the_writer(store):
    """A reader sees the last commit while a transaction is in progress."""
    await store.write(insert("w-1"))
    go_on, writing = hold_writer(store)

    assert await asyncio.wait_for(store.read(lambda conn: workers.find_worker(conn, "w-1")), 180)
    go_on.set()
    await writing


async def test_a_writer_that_is_stuck_is_reported(store, monkeypatch):
    """Otherwise a database that never answers a write would look healthy; when it answers again, it is healthy."""
    monkeypatch.setattr(health, "STUCK_AFTER_S", 0.01)
    assert store.writer_health.is_writing()
    go_on, writing = hold_writer(store)
    while store.writer_health.is_writing():
        await asyncio.sleep(0.005)
    go_on.set()
    await writing

    assert store.writer_health.is_writing()


@pytest.mark.parametrize("value", ["a\ud800b", 2**70, -(2**70)])
async def test_a_value_that_cannot_be_stored_is_the_callers_error(store, value):
    """Half a surrogate pair, or a number beyond 64 bits: not an outage, after which callers retry, and not an error of others in the batch."""
    go_on, first = hold_writer(store)
    query = select(text("CAST(:value AS BIGINT)"))
    writing = [
        store.write(lambda tx: tx.conn.execute(query, {"value": value})),
        store.write(insert("w-1")),
    ]
    outcomes = asyncio.gather(*writing, return_exceptions=True)
    go_on.set()
    await first

    assert [type(outcome) for outcome in await outcomes] == [UnstorableError, type(None)]
    with pytest.raises(UnstorableError) as refused:
        await store.read(lambda conn: conn.execute(query, {"value": value}))
    assert str(refused.value) == "A value cannot be stored."


@ON_POSTGRESQL
@pytest.mark.parametrize("worker_id", ["a\0b", "x" * 65])
async def test_text_that_postgresql_cannot_store_is_the_callers_error(store, worker_id):
    """NUL, and more than a column holds."""
    with pytest.raises(UnstorableError):
        await store.write(insert(worker_id))
    await store.write(insert("w-1"))
    assert store.writer_health.is_writing()


async def test_a_reader_changes_nothing(store):
    """Writes in a read operation are rejected or rolled back."""
    await store.write(insert("w-1"))
    # PostgreSQL rejects it; SQLite rolls it back.
    with contextlib.suppress(StoreError):
        await store.read(lambda conn: conn.execute(delete(workers_table)))

    assert await store.read(lambda conn: workers.find_worker(conn, "w-1"))


async def test_a_closed_store_refuses_operations(database_url):
    """It fails clearly rather than waiting forever; it can be closed twice."""
    store = Store.open(database_url, audit_key=AUDIT_KEY)
    await store.close()
    await store.close()

    with pytest.raises(StoreError):
        await store.write(insert("w-1"))
    with pytest.raises(StoreError):
        await store.read(lambda conn: workers.find_worker(conn, "w-1"))


async def test_closing_completes_even_if_its_caller_is_cancelled(database_url):
    """An interrupted shutdown still releases the database."""
    store = Store.open(database_url, audit_key=AUDIT_KEY)
    go_on, writing = hold_writer(store)
    closing = asyncio.ensure_future(store.close())
    await asyncio.sleep(0)
    closing.cancel()
    go_on.set()
    await writing
    with pytest.raises(asyncio.CancelledError):
        await closing
    await asyncio.gather(*(asyncio.all_tasks() - {asyncio.current_task()}))

    await Store.open(database_url, audit_key=AUDIT_KEY).close()


async def test_errors_do_not_contain_the_values_of_the_statement(store):
    """Database errors go to logs."""
    password_hash = "$argon2id$" + "0" * 8
    with pytest.raises(StoreError) as failed:
        await store.write(
            lambda tx: tx.conn.exec_driver_sql("INSERT INTO nowhere VALUES (?)", (password_hash,))
        )

    assert password_hash not in "".join(traceback.format_exception(failed.value))


@ON_POSTGRESQL
async def test_errors_do_not_contain_the_row_of_a_violated_constraint(store):
    """PostgreSQL's own message has all values of such a row."""
    password_hash = "$argon2id$" + "0" * 8
    with pytest.raises(StoreError) as failed:
        await store.write(
            lambda tx: tx.conn.exec_driver_sql(
                "INSERT INTO operators (name, password_hash) VALUES ('ada', %s)", (password_hash,)
            )
        )

    assert "violates not-null constraint" in str(failed.value)
    assert password_hash not in "".join(traceback.format_exception(failed.value))


@ON_POSTGRESQL
async def test_if_the_connection_is_lost_the_whole_batch_fails(store, cluster, published):
    """Operations that ran before are not committed, and every caller gets an error after which it may retry."""

    def loses_the_connection(tx):
        backend = tx.conn.exec_driver_sql("SELECT pg_backend_pid()").scalar()
        cluster.execute(f"SELECT pg_terminate_backend({backend})")
        tx.conn.exec_driver_sql("SELECT 1")

    go_on, first = hold_writer(store)
    operations = [insert("w-1"), loses_the_connection, insert("w-2"), insert("w-3")]
    waiting = [asyncio.ensure_future(store.write(operation)) for operation in operations]
    await asyncio.sleep(0)
    go_on.set()
    # It may be in the same batch.
    await asyncio.wait([first])
    outcomes = await asyncio.gather(*waiting, return_exceptions=True)

    assert [type(outcome) for outcome in outcomes] == [StoreError] * 4
    assert published == []
    await store.write(insert("w-1"))


async def test_closing_finishes_what_is_queued(database_url):
    """Operations submitted before the end are written."""
    store = Store.open(database_url, audit_key=AUDIT_KEY)
    queued = [asyncio.ensure_future(store.write(insert(f"w-{n}"))) for n in range(20)]
    await asyncio.sleep(0)
    await store.close()
    await asyncio.gather(*queued)

    again = Store.open(database_url, audit_key=AUDIT_KEY)
    assert await again.read(lambda conn: len(list(workers.all_workers(conn)))) == 20
    await again.close()


async def test_a_file_that_is_not_a_database_is_reported(tmp_path):
    """Garbage, a directory, memory, options, another kind of database: the error is clear."""
    (tmp_path / "garbage.db").write_bytes(b"not a database" * 100)
    (tmp_path / "dir.db").mkdir()
    for url in (
        f"sqlite:///{tmp_path}/garbage.db",
        f"sqlite:///{tmp_path}/dir.db",
        "mysql://x",
        "nonsense",
        "sqlite://",
        "sqlite:///:memory:",
        f"sqlite:///file:{tmp_path}/x.db",
        f"sqlite:///{tmp_path}/x.db?mode=ro",
        f"sqlite+aiosqlite:///{tmp_path}/x.db",
        f"sqlite:///{tmp_path}/no/such/directory/x.db",
    ):
        with pytest.raises(StoreError):
            Store.open(url, audit_key=AUDIT_KEY)
    assert not list(tmp_path.glob("x.db*"))


async def test_a_path_may_contain_special_characters_of_urls(tmp_path):
    """A question mark, a per cent sign or a hash in the name of a directory."""
    from sqlalchemy import URL

    place = tmp_path / "a?b=c%20d#e"
    place.mkdir()
    store = Store.open(URL.create("sqlite", database=str(place / "s.db")), audit_key=AUDIT_KEY)
    await store.close()

    assert (place / "s.db").exists()


@ON_SQLITE
async def test_a_second_server_on_one_sqlite_file_is_refused(store, database_url):
    """It would not learn of the first one's revocations."""
    with pytest.raises(StoreError, match="Another Server"):
        Store.open(database_url, audit_key=AUDIT_KEY)
    await store.close()

    again = Store.open(database_url, audit_key=AUDIT_KEY)
    await again.close()


@ON_SQLITE
async def test_a_newer_schema_is_refused(database_url):
    """An older program does not change the database."""
    await Store.open(database_url, audit_key=AUDIT_KEY).close()
    with sqlite3.connect(database_url.removeprefix("sqlite:///")) as raw:
        raw.execute("UPDATE alembic_version SET version_num = '9999'")
        raw.execute("UPDATE schema_floor SET oldest = '9999'")
    raw.close()

    before = Path(database_url.removeprefix("sqlite:///")).read_bytes()
    with pytest.raises(StoreError, match="newer version"):
        Store.open(database_url, audit_key=AUDIT_KEY)
    assert Path(database_url.removeprefix("sqlite:///")).read_bytes() == before


async def test_an_upgrade_that_fails_leaves_nothing_behind(database_url, monkeypatch):
    """Tables and the head of the audit log are created in one transaction: the next start finds an empty database."""

    def broken(*_args, **_kwargs):
        raise OSError("no head today")

    with monkeypatch.context() as patched:
        patched.setattr(audit_log, "begin", broken)
        with pytest.raises(OSError, match="no head today"):
            Store.open(database_url, audit_key=AUDIT_KEY)
    engine = dialect.make_engine(database_url)
    assert inspect(engine).get_table_names() == []
    engine.dispose()

    store = Store.open(database_url, audit_key=AUDIT_KEY)
    assert (await store.verify_audit()).ok
    await store.close()


@ON_SQLITE
async def test_recreating_a_table_keeps_the_rows_that_refer_to_it(store):
    """A migration drops and recreates `workers` (as SQLite requires): the traces stay; if it would leave rows without their Worker, it is undone."""
    await store.write(insert("w-1"))
    await store.write(
        lambda tx: activity.upsert_traces(tx, [WorkerTraces(worker_id="w-1", last_seen_at=NOON)])
    )

    with dialect.migrating(store._engine) as conn:
        for statement in ("CREATE TABLE kept AS SELECT * FROM workers", "DROP TABLE workers"):
            conn.exec_driver_sql(statement)
        workers_table.create(conn)
        conn.exec_driver_sql("INSERT INTO workers SELECT * FROM kept")
        conn.exec_driver_sql("DROP TABLE kept")
    assert await store.read(activity.all_seen_ids) == {"w-1"}

    with pytest.raises(StoreError, match="nothing was changed"), dialect.migrating(store._engine) as conn:
        conn.exec_driver_sql("DELETE FROM workers")
    assert await store.read(lambda conn: workers.find_worker(conn, "w-1"))
    await store.write(lambda tx: workers.delete_worker(tx, "w-1"))
    assert await store.read(activity.all_seen_ids) == set()


def test_the_tables_are_portable():
    """PostgreSQL can create every table; numbers that grow without limit have 64 bits there."""
    statements = {
        table.name: str(CreateTable(table).compile(dialect=postgresql.dialect()))
        for table in metadata.sorted_tables
    }

    assert "number BIGSERIAL" in statements["refusal_attempts"]
    assert "number BIGINT" in statements["audit_events"]


@ON_SQLITE
async def test_a_database_that_others_can_read_is_made_private(database_url):
    """When it is opened, perhaps after it was copied from a backup."""
    file = Path(database_url.removeprefix("sqlite:///"))
    await Store.open(database_url, audit_key=AUDIT_KEY).close()
    file.chmod(0o644)
    store = Store.open(database_url, audit_key=AUDIT_KEY)
    await store.write(insert("w-1"))
    modes = {stat.S_IMODE(part.stat().st_mode) for part in file.parent.glob(f"{file.name}*")}
    await store.close()

    assert modes == {0o600}


async def test_the_files_are_private(tmp_path):
    """Database, WAL and shared memory have mode 0600, whatever the umask is."""
    before = os.umask(0o000)
    try:
        store = Store.open(f"sqlite:///{tmp_path}/private.db", audit_key=AUDIT_KEY)
        await store.write(insert("w-1"))
        modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in tmp_path.iterdir()}
        await store.close()
    finally:
        os.umask(before)

    assert set(modes) == {"private.db", "private.db-wal", "private.db-shm", "private.db.lock"}
    assert set(modes.values()) == {0o600}


def integrity_of(conn):
    """Return the result of SQLite's integrity check."""
    return conn.exec_driver_sql("PRAGMA integrity_check").scalars().all()


_WRITE_AND_PRINT = """
import asyncio, sys
from lyftdata.store import Store
from lyftdata.store.tables import workers
from tests.builders import event, worker
async def main():
    store = Store.open(sys.argv[1], audit_key=b"a" * 32)
    async def one(n):
        def op(tx):
            workers.insert_worker(tx, worker(f"w-{n}"), unique_name=True)
            tx.audit(event(subject=f"worker:w-{n}"))
        await store.write(op)
        print(n, flush=True)
    n = 0
    while True:
        await asyncio.gather(*(one(n + k) for k in range(8)))
        n += 8
asyncio.run(main())
"""


@pytest.mark.parametrize("acknowledged", [1, *random.SystemRandom().choices(range(2, 300), k=4)], ids=case)
async def test_sigkill_loses_no_acknowledged_write(database_url, acknowledged):
    """
    After a kill at a random moment, every acknowledged row is there with its audit event.

    The file and the chain are intact; other rows are there with their event, or not at all.
    """
    writer = subprocess.Popen(
        [sys.executable, "-c", _WRITE_AND_PRINT, database_url],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    assert writer.stdout is not None
    lines = [writer.stdout.readline() for _ in range(acknowledged)]
    writer.send_signal(signal.SIGKILL)
    lines += writer.stdout.readlines()
    writer.wait()
    writer.stdout.close()
    published = {f"w-{line.strip()}" for line in lines if line.endswith("\n")}
    assert len(published) >= acknowledged

    store = Store.open(database_url, audit_key=AUDIT_KEY)
    sound = ["ok"] if store.is_shared else await store.read(integrity_of)
    there = {w.id for w in await store.read(lambda conn: list(workers.all_workers(conn)))}
    events = await store.read(lambda conn: audit_log.events_after(conn, after=0, limit=100_000))
    report = await store.verify_audit()
    await store.close()

    assert sound == ["ok"]
    assert published <= there
    assert {e.event.subject for e in events} == {f"worker:{worker_id}" for worker_id in there}
    assert (report.ok, report.checked) == (True, len(there))


class LostAnswer:
    """Loses the answer to one commit, after the commit or before it; the database may be unreachable then."""

    def __init__(self, store, monkeypatch, *, after, unreachable=0):
        self._real = store._engine.dialect.do_commit
        self._after = after
        self._unreachable = unreachable
        self._lost = False
        self._error = store._engine.dialect.loaded_dbapi.OperationalError
        monkeypatch.setattr(store._engine.dialect, "do_commit", self._commit)
        has = audit_log.has

        def has_or_fail(*args):
            if self._unreachable:
                self._unreachable -= 1
                raise OperationalError("select", {}, Exception("out of reach"))
            return has(*args)

        monkeypatch.setattr(audit_log, "has", has_or_fail)

    def _commit(self, connection):
        if self._lost:
            self._real(connection)
            return
        self._lost = True
        if self._after:
            self._real(connection)
        raise self._error("the answer was lost")


def insert_and_note(worker_id):
    """Return an operation that adds a Worker, with its audit event."""

    def op(tx):
        workers.insert_worker(tx, worker(worker_id), unique_name=True)
        tx.audit(event(subject=f"worker:{worker_id}"))

    return op


async def test_a_commit_whose_answer_was_lost_is_looked_up(store, published, monkeypatch):
    """It was committed, so its caller gets the result, and copies in memory are updated."""
    LostAnswer(store, monkeypatch, after=True)

    await store.write(insert_and_note("w-1"))

    assert [change.worker_id for change in published] == ["w-1"]
    await store.write(insert_and_note("w-2"))
    assert (await store.verify_audit()).ok


async def test_a_commit_that_did_not_happen_is_an_error(store, published, monkeypatch):
    """Nothing is stored, nothing is published, and the next change succeeds."""
    LostAnswer(store, monkeypatch, after=False)

    with pytest.raises(StoreError):
        await store.write(insert_and_note("w-1"))

    assert published == []
    await store.write(insert_and_note("w-1"))
    assert (await store.verify_audit()).ok


@pytest.mark.parametrize("after", [True, False])
async def test_an_uncertain_commit_is_resolved_before_the_next(store, published, monkeypatch, after):
    """While the database is unreachable nothing is written; then the result of the uncertain commit is published first."""
    LostAnswer(store, monkeypatch, after=after, unreachable=2)
    for _ in range(2):
        with pytest.raises(StoreError):
            await store.write(insert_and_note("w-1"))
    assert published == []

    await store.write(insert_and_note("w-2"))

    assert [change.worker_id for change in published] == (["w-1", "w-2"] if after else ["w-2"])
    assert (await store.read(lambda conn: workers.find_worker(conn, "w-1")) is not None) == after
    assert (await store.verify_audit()).ok
