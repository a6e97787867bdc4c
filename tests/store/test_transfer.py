"""Moving from SQLite to PostgreSQL: everything arrives, or nothing does."""

import shutil
import sqlite3
from pathlib import Path

import pytest
from sqlalchemy import URL, inspect
from tests.builders import event, worker
from tests.store.conftest import AUDIT_KEY, run_directly
from tests.store.rows import make_filled

from lyftdata.store import Store, StoreError, transfer
from lyftdata.store.dialects import dialect
from lyftdata.store.schema import metadata
from lyftdata.store.tables import workers


@pytest.fixture
def source(tmp_path):
    """Return the file of an SQLite database with a row in every table."""
    file = tmp_path / "staging" / "lyft%data db"
    file.parent.mkdir()
    make_filled(URL.create("sqlite", database=str(file)))
    return file


@pytest.fixture
def target(cluster):
    """Return the URL of an empty PostgreSQL database."""
    return cluster.new_database()


def move(source, target, key=AUDIT_KEY):
    """Move a database."""
    return transfer.transfer(source, target, audit_key=key)


def tables_of(url):
    """Return the names of a database's tables."""
    engine = dialect.make_engine(url)
    names = inspect(engine).get_table_names()
    engine.dispose()
    return names


def temporary_files_of(source):
    """Return the files next to a database, except those of SQLite and the lock."""
    usual = {source.name + part for part in ("", ".lock", "-wal", "-shm")}
    return [file.name for file in source.parent.iterdir() if file.name not in usual]


def run_on_file(file, *statements):
    """Run SQL on an SQLite file behind the store's back; return the rows of the last statement."""
    raw = sqlite3.connect(file)
    with raw:
        rows = [raw.execute(statement).fetchall() for statement in statements]
    raw.close()
    return rows[-1]


async def test_everything_arrives(source, target):
    """Every table has the same rows on both sides, and the audit log, sequences and Workers continue from there."""
    run_on_file(
        source,
        "INSERT INTO refusal_attempts (number, reference, code, at, address, claimed_worker, detail, proved) "
        "SELECT number + value, reference, code, at, address, claimed_worker, detail, proved "
        "FROM refusal_attempts, (WITH RECURSIVE n(value) AS (SELECT 1 UNION ALL SELECT value + 1 FROM n LIMIT 2500) "
        "SELECT value FROM n)",
    )

    moved = move(source, target)

    assert set(moved.tables) == {table.name for table in metadata.sorted_tables}
    assert all(content.rows for content in moved.tables.values())
    assert moved.tables["refusal_attempts"].rows == 2501
    assert (moved.audit.ok, moved.audit.checked) == (True, 3)
    for name, content in moved.tables.items():
        [(rows,)] = run_directly(target, f"SELECT count(*) FROM {name}")
        assert rows == content.rows, name
    store = Store.open(target, audit_key=AUDIT_KEY)
    assert store.audit_is_sound

    def op(tx):
        workers.insert_worker(tx, worker("w-2"), unique_name=True)
        tx.audit(event(subject="worker:w-2"))

    await store.write(op)
    assert {found.id for found in await store.read(lambda conn: list(workers.all_workers(conn)))} == {
        "w-1",
        "w-2",
    }
    report = await store.verify_audit()
    assert (report.ok, report.head_number) == (True, 4)
    await store.close()
    numbers = run_directly(
        target,
        "INSERT INTO refusal_attempts (reference, code, at, address, claimed_worker, detail, proved) "
        "SELECT reference, code, at, address, claimed_worker, detail, proved FROM refusal_attempts LIMIT 1 RETURNING number",
    )
    assert numbers == [(2508,)]


def test_the_source_is_not_changed(source, target):
    """Not a byte of the SQLite file changes, and no copy is left next to it."""
    before = source.read_bytes()

    move(source, target)

    assert source.read_bytes() == before
    assert source.with_name(f"{source.name}-wal").stat().st_size == 0
    assert temporary_files_of(source) == []


def test_json_is_copied_exactly(source, target):
    """NULL stays NULL, the text null stays a text, and a document keeps its order and spaces."""
    bodies = [None, "null", '{"b": 1,  "a": 1.0}', '"\\u0000"']
    run_on_file(source, "DELETE FROM changes")
    raw = sqlite3.connect(source)
    with raw:
        raw.executemany(
            "INSERT INTO changes (server_id, kind, key, body) VALUES ('s', 'k', 'k', ?)",
            [(body,) for body in bodies],
        )
    raw.close()

    move(source, target)

    rows = run_directly(target, "SELECT CAST(body AS TEXT) FROM changes ORDER BY seq")
    assert [body for (body,) in rows] == bodies


def test_a_database_of_an_earlier_version_is_moved_without_being_upgraded(tmp_path, target):
    """A copy is upgraded: the version that made the source can still be started on it."""
    source = tmp_path / "old.db"
    make_filled(f"sqlite:///{source}", revision="0003")

    moved = move(source, target)

    assert run_on_file(source, "SELECT version_num FROM alembic_version") == [("0003",)]
    assert moved.tables["worker_sessions"].rows == 1
    assert moved.tables["resources"].rows == 0


async def test_the_log_of_a_crashed_server_is_moved_too(tmp_path, target):
    """Commits that SQLite keeps in the log next to the file are moved, and the log stays."""
    url = f"sqlite:///{tmp_path / 'store.db'}"
    store = Store.open(url, audit_key=AUDIT_KEY)
    await store.write(lambda tx: workers.insert_worker(tx, worker("w-late"), unique_name=True))
    crashed = tmp_path / "crashed"
    crashed.mkdir()
    for name in ("store.db", "store.db-wal"):
        shutil.copy(tmp_path / name, crashed / name)
    await store.close()
    before = (crashed / "store.db").read_bytes()

    move(crashed / "store.db", target)

    assert run_directly(target, "SELECT id FROM workers") == [("w-late",)]
    assert (crashed / "store.db").read_bytes() == before
    assert run_on_file(crashed / "store.db", "SELECT id FROM workers") == [("w-late",)]


async def test_a_move_is_refused_while_a_server_uses_the_source(tmp_path, target):
    """Changes of a running Server after the copy would be lost."""
    file = tmp_path / "store.db"
    store = Store.open(f"sqlite:///{file}", audit_key=AUDIT_KEY)

    with pytest.raises(StoreError, match="A Server is using the database") as refused:
        move(file, target)
    await store.close()

    assert refused.value.hint == "Stop it first."
    assert tables_of(target) == []


@pytest.mark.parametrize(
    "something", ["CREATE TABLE theirs (id integer)", "CREATE VIEW theirs AS SELECT 1 AS id"]
)
def test_a_target_that_is_not_empty_is_refused(source, target, something):
    """Whatever is there stays, and nothing is added."""
    run_directly(target, something)
    before = tables_of(target)

    with pytest.raises(StoreError, match="not empty"):
        move(source, target)

    assert tables_of(target) == before


async def test_a_second_move_is_refused(source, target):
    """Not even the same data is copied over a database that may have changed since."""
    move(source, target)
    with pytest.raises(StoreError, match="not empty"):
        move(source, target)


@pytest.mark.parametrize(
    ("harm", "key", "problem"),
    [
        ("SELECT 1", b"z" * 32, "does not fit the secret key"),
        ("UPDATE audit_events SET actor = 'operator:eve' WHERE number = 2", AUDIT_KEY, "does not fit"),
        ("DELETE FROM audit_events WHERE number = 3", AUDIT_KEY, "does not fit"),
        ("DELETE FROM audit_head", AUDIT_KEY, "does not fit"),
        ("UPDATE alembic_version SET version_num = '9999'", AUDIT_KEY, "move it with that version"),
        ("DELETE FROM alembic_version", AUDIT_KEY, "not a lyftdata database"),
        (f"UPDATE workers SET name = '{'secret' * 20}'", AUDIT_KEY, "The database failed: value too long"),
        ("UPDATE workers SET name = 'secret' || char(0)", AUDIT_KEY, "The database failed: .*NUL"),
    ],
)
def test_a_move_that_fails_leaves_nothing(source, target, harm, key, problem):
    """Another secret key, a changed log, a newer schema, or values that PostgreSQL refuses."""
    run_on_file(source, "INSERT OR REPLACE INTO schema_floor VALUES (1, '0005')", harm)

    with pytest.raises(StoreError, match=problem) as refused:
        move(source, target, key)

    assert "secretsecret" not in str(refused.value)
    assert tables_of(target) == []
    assert temporary_files_of(source) == []


@pytest.mark.parametrize(
    ("table", "harm"),
    [
        ("workers", "UPDATE workers SET labels = '{}'"),
        ("workers", "UPDATE workers SET created_at = created_at + interval '1 microsecond'"),
        ("api_keys", "UPDATE api_keys SET expires_at = NULL"),
        ("api_keys", "UPDATE api_keys SET digest = decode('00', 'hex')"),
        ("samples", "DELETE FROM samples"),
        ("revoked_tokens", "INSERT INTO revoked_tokens SELECT 'more', expires_at FROM revoked_tokens"),
    ],
)
def test_a_difference_after_the_copy_is_detected(source, target, monkeypatch, table, harm):
    """A changed value, a missing row or an additional one: nothing is kept."""
    advance_sequence = transfer._advance_sequence

    def damaging(moved, conn):
        if moved.name == table:
            conn.exec_driver_sql(harm)
        advance_sequence(moved, conn)

    with monkeypatch.context() as patched:
        patched.setattr(transfer, "_advance_sequence", damaging)
        with pytest.raises(StoreError, match=f"content of {table} differs from what was read"):
            move(source, target)

    assert tables_of(target) == []
    assert move(source, target).audit.ok


def test_a_missing_source_is_an_error(tmp_path, target):
    """A wrong path is reported, and no empty database is created there."""
    with pytest.raises(StoreError, match="no database at"):
        move(tmp_path / "nothing.db", target)
    assert list(tmp_path.iterdir()) == []


def test_the_target_must_be_postgresql(source, tmp_path):
    """Not another SQLite file."""
    with pytest.raises(StoreError, match="is for SQLite"):
        move(source, f"sqlite:///{Path(tmp_path) / 'other.db'}")


def test_a_move_is_not_limited_in_time(source, target, monkeypatch):
    """PostgreSQL ends a Server's transaction that blocks others for seconds, but a database of any size must be moved."""
    limits = []

    def look(_table, conn):
        limits.append(conn.exec_driver_sql("SHOW idle_in_transaction_session_timeout").scalar())

    monkeypatch.setattr(transfer, "_advance_sequence", look)
    move(source, target)

    assert set(limits) == {"0"}


@pytest.mark.parametrize("stage", ["Copying", "Comparing", "Checking the audit log"])
def test_an_interrupted_move_leaves_the_target_empty(source, target, stage):
    """Ctrl-C at any stage: the source is unchanged, and the same command works afterwards."""

    def interrupt(reported, _done, _total):
        if reported == stage:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        transfer.transfer(source, target, audit_key=AUDIT_KEY, on_progress=interrupt)

    assert temporary_files_of(source) == []
    assert move(source, target).audit.ok
