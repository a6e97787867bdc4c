"""One writer that commits in groups."""

import asyncio
import os
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from sqlalchemy import event as sa_event
from tests.builders import event, worker
from tests.store.conftest import AUDIT_KEY

from lyftdata.core.errors import ConflictError
from lyftdata.store import Store, StoreError, workers
from lyftdata.store.changes import WorkerChanged


def insert(worker_id):
    """Return an operation that adds a Worker."""
    return lambda tx: workers.insert_worker(tx, worker(worker_id), unique_name=True)


def held_back(store):
    """Hold the writer in an operation until the returned event is set, so that others queue behind it."""
    go_on = threading.Event()
    return go_on, asyncio.ensure_future(store.write(lambda _tx: go_on.wait(10)))


async def test_what_was_written_is_read(store):
    """A change is there for every reader once `write` has returned."""
    await store.write(insert("w-1"))

    assert await store.read(lambda conn: workers.find_worker(conn, "w-1")) == worker("w-1")


async def test_many_changes_share_one_commit(store):
    """What queues while the writer is busy is committed together."""
    commits: list[object] = []
    sa_event.listen(store._engine, "commit", commits.append)
    go_on, first = held_back(store)
    rest = [asyncio.ensure_future(store.write(insert(f"w-{n}"))) for n in range(50)]
    await asyncio.sleep(0)
    go_on.set()

    await asyncio.gather(first, *rest)

    assert len(commits) <= 3
    assert await store.read(lambda conn: len(list(workers.all_workers(conn)))) == 50


async def test_one_that_fails_fails_alone(store):
    """In a group, a conflict undoes its own operation only, and all of it."""

    def half_done(tx):
        workers.insert_worker(tx, worker("w-half"), unique_name=True)
        tx.audit(event())
        raise ConflictError("no", "no")

    go_on, first = held_back(store)
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


async def test_changes_are_told_after_the_commit_and_before_the_caller_goes_on(database_url):
    """Whoever holds a copy knows of a change before the one who asked for it is answered."""
    seen: list[object] = []

    def on_change(changes):
        with sqlite3.connect(database_url.removeprefix("sqlite:///")) as other:
            seen.append(
                ("told", changes[0].worker_id, other.execute("SELECT count(*) FROM workers").fetchone()[0])
            )
        other.close()

    store = Store.open(database_url, audit_key=AUDIT_KEY, on_change=on_change)
    await store.write(insert("w-1"))
    seen.append("caller")
    await store.close()

    assert seen == [("told", "w-1", 1), "caller"]


async def test_a_refused_change_is_not_told(store, told):
    """What was rolled back is told to nobody."""
    await store.write(insert("w-1"))
    with pytest.raises(ConflictError):
        await store.write(insert("w-1"))

    assert told == [WorkerChanged("w-1", worker("w-1"))]


async def test_a_cancelled_caller_does_not_undo(store, told):
    """An operation whose caller has gone is either done whole, and told, or not at all."""
    go_on, first = held_back(store)
    impatient = asyncio.ensure_future(store.write(insert("w-1")))
    await asyncio.sleep(0)
    impatient.cancel()
    go_on.set()
    await first
    await store.write(insert("w-2"))

    there = await store.read(lambda conn: workers.find_worker(conn, "w-1"))
    assert (there is not None) is (WorkerChanged("w-1", worker("w-1")) in told)


async def test_a_closed_store_takes_nothing(database_url):
    """What is asked of a closed store fails clearly rather than waiting for ever."""
    store = Store.open(database_url, audit_key=AUDIT_KEY)
    await store.close()

    with pytest.raises(StoreError):
        await store.write(insert("w-1"))


async def test_closing_finishes_what_is_queued(database_url):
    """What was handed over before the end is written."""
    store = Store.open(database_url, audit_key=AUDIT_KEY)
    queued = [asyncio.ensure_future(store.write(insert(f"w-{n}"))) for n in range(20)]
    await asyncio.sleep(0)
    await store.close()
    await asyncio.gather(*queued)

    again = Store.open(database_url, audit_key=AUDIT_KEY)
    assert await again.read(lambda conn: len(list(workers.all_workers(conn)))) == 20
    await again.close()


async def test_a_database_that_is_none_is_told(tmp_path):
    """Garbage in the file, a directory in its place, another kind of database: a clear error."""
    (tmp_path / "garbage.db").write_bytes(b"not a database" * 100)
    (tmp_path / "dir.db").mkdir()
    for url in (
        f"sqlite:///{tmp_path}/garbage.db",
        f"sqlite:///{tmp_path}/dir.db",
        "mysql://x",
        "nonsense",
        "sqlite://",
    ):
        with pytest.raises(StoreError):
            Store.open(url, audit_key=AUDIT_KEY)


async def test_one_server_a_database(store, database_url):
    """A second Server on the same file would not hear of the first one's revocations: it is refused."""
    with pytest.raises(StoreError, match="Another Server"):
        Store.open(database_url, audit_key=AUDIT_KEY)
    await store.close()

    again = Store.open(database_url, audit_key=AUDIT_KEY)
    await again.close()


async def test_a_newer_schema_is_refused(database_url):
    """A program that is older than its database does not touch it."""
    await Store.open(database_url, audit_key=AUDIT_KEY).close()
    with sqlite3.connect(database_url.removeprefix("sqlite:///")) as raw:
        raw.execute("UPDATE alembic_version SET version_num = '9999'")
    raw.close()

    with pytest.raises(StoreError, match="newer version"):
        Store.open(database_url, audit_key=AUDIT_KEY)


async def test_the_files_are_their_owners_alone(tmp_path):
    """Database, WAL and shared memory have mode 0600, whatever the umask says."""
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


_WRITE_AND_TELL = """
import asyncio, sys
from lyftdata.store import Store, workers
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


@pytest.mark.parametrize("acknowledged", [1, 40, 150])
async def test_kill_9_loses_nothing_that_was_acknowledged(database_url, acknowledged):
    """Killed in the midst of writing, every acknowledged row is there with its audit event, and the chain is whole."""
    writer = subprocess.Popen(
        [sys.executable, "-c", _WRITE_AND_TELL, database_url],
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
    told = {f"w-{line.strip()}" for line in lines if line.endswith("\n")}

    store = Store.open(database_url, audit_key=AUDIT_KEY)
    there = {w.id for w in await store.read(lambda conn: list(workers.all_workers(conn)))}
    report = await store.verify_audit()
    await store.close()

    assert told <= there
    assert report.ok
    assert report.checked == len(there)
