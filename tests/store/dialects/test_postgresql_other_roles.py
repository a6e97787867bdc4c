"""Roles that may only connect to the Servers' PostgreSQL database can neither stop nor mislead the Servers."""

import asyncio
import contextlib

import psycopg
import pytest
from psycopg import sql
from tests.builders import worker
from tests.store.conftest import AUDIT_KEY

from lyftdata.store import Store, StoreError
from lyftdata.store.change_feed import change_log, feed
from lyftdata.store.changes import Change, WorkerChanged
from lyftdata.store.dialects import postgresql
from lyftdata.store.tables import workers
from lyftdata.store.writer import lock_holders

LOCK_MODES = (
    "ROW SHARE", "ROW EXCLUSIVE", "SHARE UPDATE EXCLUSIVE", "SHARE", "SHARE ROW EXCLUSIVE", "EXCLUSIVE", "ACCESS EXCLUSIVE",
)  # fmt: skip
ROW_LOCKS = ("FOR KEY SHARE", "FOR SHARE", "FOR NO KEY UPDATE", "FOR UPDATE")


@pytest.fixture
def database_url(cluster):
    """Return the URL of an empty database."""
    return cluster.new_database()


@pytest.fixture
def add_role(cluster, database_url):
    """Return a function that creates a role with some rights on every table; it returns its database URL."""
    made: list[str] = []

    def add(*rights):
        name = f"role_{database_url.rpartition('/')[2]}_{len(made)}"
        made.append(name)
        database = database_url.rpartition("/")[2]
        cluster.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD 'x'").format(sql.Identifier(name)))
        for right in rights:
            cluster.execute(
                sql.SQL("GRANT {} ON ALL TABLES IN SCHEMA public TO {}").format(
                    sql.SQL(right), sql.Identifier(name)
                ),
                database,
            )
        return database_url.replace("owner:not-a-secret", f"{name}:x")

    return add


def insert(worker_id):
    """Return an operation that adds a Worker and publishes it."""

    def op(tx):
        workers.insert_worker(tx, worker(worker_id), unique_name=True)
        tx.changed(WorkerChanged(worker_id, workers.find_worker(tx.conn, worker_id)))

    return op


@contextlib.contextmanager
def lock_held(url):
    """Hold the Servers' lock, in a session with an application name."""
    with psycopg.connect(url, application_name="nightly job") as conn:
        conn.execute("LOCK TABLE writer_lock IN SHARE UPDATE EXCLUSIVE MODE")
        yield conn.info.backend_pid


@pytest.mark.parametrize("rights", [(), ("SELECT",), ("SELECT", "INSERT")], ids=["nothing", "read", "insert"])
async def test_a_role_that_cannot_update_cannot_block_the_writer(store, add_role, rights):
    """Its table locks, row locks and advisory locks are refused, or do not affect the Servers."""
    held = []
    with contextlib.ExitStack() as sessions:
        for statement in (
            *(f"LOCK TABLE writer_lock IN {mode} MODE" for mode in ("ACCESS SHARE", *LOCK_MODES)),
            *(
                f"SELECT * FROM {table} {lock}"
                for table in ("writer_lock", "audit_head")
                for lock in ROW_LOCKS
            ),
            "SELECT pg_advisory_lock(7816375566506259553), pg_advisory_lock(1, 2), pg_advisory_xact_lock(0)",
        ):
            session = sessions.enter_context(psycopg.connect(add_role(*rights)))
            try:
                session.execute(statement)
                held.append(statement)
            except psycopg.errors.InsufficientPrivilege:
                session.rollback()
        await asyncio.wait_for(store.write(insert("w-1")), 180)

    # The locks that it got do not conflict with writing.
    assert any("advisory" in statement for statement in held)
    assert not [
        statement for statement in held if "EXCLUSIVE" in statement and "ROW EXCLUSIVE" not in statement
    ]


async def test_the_holder_of_the_lock_is_named(store, database_url, add_role, monkeypatch):
    """A role that may update the table can hold the lock: after two failed batches the Server reports that it cannot write, and recovers afterwards."""
    monkeypatch.setattr(postgresql, "WAIT_FOR_TURN_S", 0.2)
    with lock_held(add_role("UPDATE")) as pid:
        failing = asyncio.ensure_future(store.write(insert("w-1")))
        [holder] = await store.read(lock_holders.find)
        with pytest.raises(StoreError, match="lock timeout"):
            await failing
        after_one = store.writer_health.is_writing()
        with pytest.raises(StoreError, match="lock timeout"):
            await store.write(insert("w-2"))
        after_two = store.writer_health.is_writing()
    await store.write(insert("w-3"))

    assert holder.pid == pid
    assert holder.role.startswith("role_")
    assert (holder.application, holder.address) == ("nightly job", "127.0.0.1")
    assert (after_one, after_two, store.writer_health.is_writing()) == (True, False, True)
    assert await store.read(lock_holders.find) == []


async def test_a_start_that_fails_because_of_the_lock_names_its_holder(store, database_url, monkeypatch):
    """A Server that cannot start because of a held lock reports who holds it."""
    monkeypatch.setattr(postgresql, "WAIT_FOR_TURN_S", 0.2)
    with lock_held(database_url) as pid, pytest.raises(StoreError, match=f"held by: pid {pid}, role owner"):
        Store.open(database_url, audit_key=AUDIT_KEY)


async def test_servers_that_start_concurrently_create_the_schema_once(database_url):
    """The lock itself is a table that must be created first: the Servers wait for each other, and all start."""
    stores = await asyncio.gather(
        *(asyncio.to_thread(Store.open, database_url, audit_key=AUDIT_KEY) for _ in range(6))
    )
    await asyncio.gather(*(store.write(insert(f"w-{n}")) for n, store in enumerate(stores)))

    assert len(await stores[0].read(lambda conn: list(workers.all_workers(conn)))) == len(stores)
    for store in stores:
        await store.close()


async def test_a_restricted_role_can_use_tables_owned_by_another(store, database_url, add_role):
    """A role that may change rows but not create tables can run a Server if the schema is up to date."""
    url = add_role("SELECT, INSERT, UPDATE, DELETE")
    restricted = await asyncio.to_thread(Store.open, url, audit_key=AUDIT_KEY)
    with pytest.raises(StoreError, match="permission denied for sequence"):
        await restricted.write(lambda tx: tx.conn.exec_driver_sql("SELECT nextval('changes_seq_seq')"))
    await restricted.close()


@contextlib.asynccontextmanager
async def listening(url, published):
    """Open a store that follows the changes of peers and collects them in a list."""
    store = await asyncio.to_thread(Store.open, url, audit_key=AUDIT_KEY)
    store.deliver_changes_to(published.extend)
    store.start_change_feed()
    try:
        yield store
    finally:
        await store.close()


async def wait_for_change_of(published, worker_id):
    """Wait until a change of this Worker is published."""
    async with asyncio.timeout(180):
        while worker_id not in [getattr(change, "worker_id", None) for change in published]:
            await asyncio.sleep(0.01)


def test_the_channel_name_depends_on_the_key():
    """Servers with the same key use the same channel, whose name reveals nothing to others."""
    ours, theirs = feed.channel_of(b"a" * 32), feed.channel_of(b"b" * 32)

    assert ours == feed.channel_of(b"a" * 32) != theirs
    assert ours.removeprefix("lyftdata_").isalnum()
    assert len(ours) == len("lyftdata_") + 32


async def test_a_flood_of_forged_notifications_causes_few_queries(database_url, add_role, monkeypatch):
    """Even on the right channel a notification only says "look": of thousands, few cause a query."""
    questions = 0
    read = change_log.read

    def counted(*args, **kwargs):
        nonlocal questions
        questions += 1
        return read(*args, **kwargs)

    published: list[Change] = []
    async with listening(database_url, published) as reader, listening(database_url, []) as writes:
        monkeypatch.setattr(feed, "REST_AFTER_ASKING_S", 0.1)
        monkeypatch.setattr(change_log, "read", counted)
        async with await psycopg.AsyncConnection.connect(add_role(), autocommit=True) as unknown_caller:
            for number in range(3_000):
                payload = f'{{"worker_id": "w-{number}", "kind": "worker"}}' + "\u202e\x1b" * 100
                await unknown_caller.execute(
                    "SELECT pg_notify(%s, %s)", (feed.channel_of(AUDIT_KEY), payload)
                )
        await writes.write(insert("w-real"))
        await wait_for_change_of(published, "w-real")

        assert questions < 1_000
        assert [getattr(change, "worker_id", None) for change in published] == ["w-real"]
        assert reader.is_current()


async def test_a_full_notification_queue_fails_no_commit(database_url, cluster, add_role, monkeypatch):
    """Any role can fill the queue by listening without reading: then no more notifications are sent, and changes are found by polling."""
    monkeypatch.setattr(postgresql, "MAX_NOTIFY_QUEUE_USAGE", 0.0005)
    published: list[Change] = []
    other_url = add_role()
    async with (
        listening(database_url, published),
        listening(database_url, []) as writes,
        await psycopg.AsyncConnection.connect(database_url, autocommit=True) as ours,
    ):
        await ours.execute(sql.SQL("LISTEN {}").format(sql.Identifier(feed.channel_of(AUDIT_KEY))))
        await writes.write(insert("w-before"))
        before = [notification async for notification in ours.notifies(timeout=180, stop_after=1)]
        with psycopg.connect(other_url) as holds, psycopg.connect(other_url, autocommit=True) as fills:
            holds.execute("LISTEN anything")
            holds.commit()
            holds.execute("SELECT 1")
            for number in range(1_200):
                fills.execute("SELECT pg_notify('anything', %s)", (f"{number}".ljust(7_900, "x"),))
            assert cluster.ask("SELECT pg_notification_queue_usage() > 0.0005")

            await writes.write(insert("w-full"))
            await wait_for_change_of(published, "w-full")
        # The next notification on our channel is of a later write: none was sent meanwhile.
        await writes.write(insert("w-after"))
        await wait_for_change_of(published, "w-after")
        after = [notification async for notification in ours.notifies(timeout=180, stop_after=1)]
        more = [notification async for notification in ours.notifies(timeout=0)]

    assert (len(before), len(after), more) == (1, 1, [])
