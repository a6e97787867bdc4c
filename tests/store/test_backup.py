"""Backups of an SQLite database: complete, private, never overwriting, and restored without loss."""

import asyncio
import contextlib
import os
import shutil
import signal
import sqlite3
import stat

import pytest
from tests.builders import NOON, event, worker
from tests.store.conftest import AUDIT_KEY

from lyftdata.store import Store, StoreError, backup, migrate
from lyftdata.store.tables import workers


@pytest.fixture
def database(tmp_path):
    """Return the path of the database, in its own directory."""
    (tmp_path / "staging").mkdir(mode=0o700)
    return tmp_path / "staging" / "lyftdata.db"


def open_store(file):
    """Open a store."""
    return Store.open(f"sqlite:///{file}", audit_key=AUDIT_KEY)


async def add(store, worker_id):
    """Add a Worker, with its audit event."""

    def op(tx):
        workers.insert_worker(tx, worker(worker_id), unique_name=True)
        tx.audit(event(subject=f"worker:{worker_id}"))

    await store.write(op)


async def write_workers(file, *worker_ids):
    """Open or create a database, add Workers, and close it."""
    store = open_store(file)
    for worker_id in worker_ids:
        await add(store, worker_id)
    await store.close()


async def ids_in(file):
    """Return the IDs of the Workers in a database; its audit log must verify."""
    store = open_store(file)
    found = {found.id for found in await store.read(lambda conn: list(workers.all_workers(conn)))}
    assert (await store.verify_audit()).ok
    await store.close()
    return found


def contents_of(directory):
    """Return the names and contents of the files in a directory."""
    return {file.name: file.read_bytes() for file in directory.iterdir() if not file.name.endswith(".lock")}


def back_up(database, to, key=AUDIT_KEY):
    """Back up a database."""
    return backup.back_up(database, to, audit_key=key)


def restore(file, database, key=AUDIT_KEY):
    """Restore a backup."""
    return backup.restore(file, database, audit_key=key, now=NOON)


def hot_journal(file, scratch):
    """Return a journal with which SQLite would insert a Worker `evil` into this database, or a copy of it."""
    shutil.copy(file, scratch)
    with contextlib.closing(sqlite3.connect(scratch, isolation_level=None)) as raw:
        raw.execute("PRAGMA journal_mode=DELETE").close()
        names = [row[1] for row in raw.execute("PRAGMA table_info(workers)")]
        known = dict(zip(names, raw.execute("SELECT * FROM workers").fetchone(), strict=True))
        values = list((known | {"id": "evil", "name": "evil"}).values())
        raw.execute(f"INSERT INTO workers VALUES ({','.join('?' * len(values))})", values)
        # The journal of a transaction contains the pages as they were before it.
        raw.execute("PRAGMA cache_size=1").close()
        raw.execute("BEGIN").close()
        raw.execute(
            "UPDATE workers SET id = 'x' || id, name = 'x' || name, thumbprint = id, next_thumbprint = id, approval = id"
        )
        raw.execute("CREATE TABLE filler (text)")
        raw.executemany("INSERT INTO filler VALUES (?)", [("y" * 900,)] * 3_000)
        return scratch.with_name(f"{scratch.name}-journal").read_bytes()


async def test_another_user_cannot_insert_data_into_a_backup(database, tmp_path):
    """In a directory where others can write, such as /tmp, SQLite would replay a journal that they put next to the copy."""
    await write_workers(database, "w-1")
    place = tmp_path / "shared"
    place.mkdir(mode=0o1777)
    journal = hot_journal(database, tmp_path / "scratch.db")
    planted = []

    def plant(stage, done, total):
        # Another user can list the directory, but not what is in a directory of mode 0700.
        for found in [*place.iterdir()]:
            if found.is_file() and found not in planted:
                found.with_name(f"{found.name}-journal").write_bytes(journal)
                planted.extend([found, found.with_name(f"{found.name}-journal")])

    made = backup.back_up(database, place / "b.db", audit_key=AUDIT_KEY, on_progress=plant)

    assert made.audit.ok
    with contextlib.closing(sqlite3.connect(f"file:{place / 'b.db'}?immutable=1", uri=True)) as raw:
        assert raw.execute("SELECT id FROM workers").fetchall() == [("w-1",)]
    assert sorted(file.name for file in place.iterdir()) == ["b.db", "b.db-journal"]


def log_that_adds(file, scratch):
    """Return a log (WAL) with which SQLite would insert a Worker `evil` into this database."""
    shutil.copy(file, scratch)
    with contextlib.closing(sqlite3.connect(scratch, isolation_level=None)) as raw:
        raw.execute("PRAGMA journal_mode=WAL").close()
        raw.execute("PRAGMA wal_autocheckpoint=0").close()
        raw.execute("UPDATE workers SET id = 'evil', name = 'evil'")
        return scratch.with_name(f"{scratch.name}-wal").read_bytes()


async def test_another_user_cannot_insert_data_into_a_restore(database, tmp_path):
    """If others can write to its directory, a backup with a log next to it is refused; a log that they add later is not read."""
    await write_workers(database, "w-1")
    place = tmp_path / "shared"
    place.mkdir()
    place.chmod(0o1777)
    file = back_up(database, place / "b.db").file
    evil = log_that_adds(file, tmp_path / "scratch.db")
    log = file.with_name("b.db-wal")
    log.write_bytes(evil)

    with pytest.raises(StoreError, match=r"b\.db-wal in it would be restored"):
        restore(file, database)
    log.unlink()

    def plant(stage, done, total):
        log.write_bytes(evil)

    backup.restore(file, database, audit_key=AUDIT_KEY, now=NOON, on_progress=plant)
    assert await ids_in(database) == {"w-1"}


async def test_a_copied_database_is_restored_with_its_own_log(database, tmp_path):
    """In this user's own directory, the log is part of the copy, like that of a Server that was killed."""
    await write_workers(database, "w-1")
    place = tmp_path / "own"
    place.mkdir(mode=0o700)
    file = back_up(database, place / "b.db").file
    file.with_name("b.db-wal").write_bytes(log_that_adds(file, tmp_path / "scratch.db"))

    restore(file, database)
    assert await ids_in(database) == {"evil"}


async def test_a_backup_of_a_database_in_use_is_consistent(database, tmp_path):
    """While Workers are added continuously, each copy has an intact audit log with exactly one event for each Worker."""
    store = open_store(database)
    await add(store, "w-0")
    stopped = asyncio.Event()

    async def keep_adding():
        count = 0
        while not stopped.is_set():
            count += 1
            await add(store, f"w-{count}")
        return count

    adding = asyncio.create_task(keep_adding())
    copies = [
        await asyncio.to_thread(back_up, database, tmp_path / f"copy-{number}.db") for number in range(5)
    ]
    stopped.set()
    added = await adding
    await store.close()

    assert all(copied.audit.ok for copied in copies)
    lengths = [copied.audit.head_number for copied in copies]
    assert lengths == sorted(lengths)
    assert 0 < lengths[0] < lengths[-1] <= added + 1
    for copied in copies:
        assert len(await ids_in(copied.file)) == copied.audit.head_number


async def test_a_backup_is_one_private_file(database, tmp_path):
    """Mode 0600 whatever the umask is, no log next to it, and the database is unchanged."""
    await write_workers(database, "w-1")
    before = database.read_bytes()
    (tmp_path / "backups").mkdir()

    copied = back_up(database, tmp_path / "backups" / "monday.db")

    assert [file.name for file in (tmp_path / "backups").iterdir()] == ["monday.db"]
    assert stat.S_IMODE(copied.file.stat().st_mode) == 0o600
    assert copied.bytes == copied.file.stat().st_size
    assert copied.schema == migrate.newest_version()
    assert database.read_bytes() == before


async def test_a_backup_overwrites_nothing(database, tmp_path):
    """An existing file, link or directory is refused."""
    await write_workers(database, "w-1")
    file = tmp_path / "monday.db"
    file.write_text("precious")
    (tmp_path / "link.db").symlink_to(tmp_path / "nowhere.db")

    for taken in (file, tmp_path / "link.db", tmp_path, database):
        with pytest.raises(StoreError, match="exists already"):
            back_up(database, taken)

    assert file.read_text() == "precious"
    assert not (tmp_path / "nowhere.db").exists()
    assert await ids_in(database) == {"w-1"}


async def test_a_backup_that_cannot_be_written_is_an_error(database, tmp_path):
    """A missing directory is a `StoreError`, and no file is created."""
    await write_workers(database, "w-1")
    with pytest.raises(StoreError, match=r"cannot be written: No such file or directory"):
        back_up(database, tmp_path / "no" / "monday.db")


def damage(file):
    """Damage every page except the first of a database, as a failing disk would."""
    content = bytearray(file.read_bytes())
    content[4096 + 100 :: 512] = b"\xee" * len(content[4096 + 100 :: 512])
    file.write_bytes(content)


def empty_an_index(file):
    """Remove the entries of an index: nothing fails, but lookups by name find nothing."""
    with sqlite3.connect(file) as raw:
        [(page, size)] = raw.execute(
            "SELECT rootpage, page_size FROM sqlite_master, pragma_page_size WHERE name = 'ix_workers_name'"
        )
    raw.close()
    content = bytearray(file.read_bytes())
    # The header of an index page: its kind, the first free block, the number of cells (SQLite file format, 1.6).
    at = (page - 1) * size + 3
    assert content[at : at + 2] == b"\x00\x01"
    content[at : at + 2] = b"\x00\x00"
    file.write_bytes(content)


@pytest.mark.parametrize("harm", [damage, empty_an_index])
async def test_a_damaged_database_is_not_backed_up(database, tmp_path, harm):
    """A copy that could not be restored is not kept."""
    await write_workers(database, "w-1")
    harm(database)
    (tmp_path / "backups").mkdir()

    with pytest.raises(StoreError, match=r"damaged|cannot be read|cannot be copied"):
        back_up(database, tmp_path / "backups" / "monday.db")

    assert list((tmp_path / "backups").iterdir()) == []


async def test_a_changed_audit_log_is_reported_and_backed_up(database, tmp_path):
    """It is evidence, and the rest of the state still needs a backup."""
    await write_workers(database, "w-1")
    with sqlite3.connect(database) as raw:
        raw.execute("UPDATE audit_events SET actor = 'operator:eve'")
    raw.close()

    copied = back_up(database, tmp_path / "monday.db")

    assert (copied.audit.ok, copied.audit.first_bad) == (False, 1)
    assert copied.file.is_file()


def test_a_backup_without_a_database_is_an_error(database, tmp_path):
    """A wrong directory is reported, and no empty database is created in it."""
    with pytest.raises(StoreError, match="no database at"):
        back_up(database, tmp_path / "monday.db")
    assert list(database.parent.iterdir()) == []
    assert not (tmp_path / "monday.db").exists()


async def test_a_restore_keeps_the_previous_database(database, tmp_path):
    """Both states can be opened afterwards; the backup is unchanged."""
    await write_workers(database, "w-1")
    file = back_up(database, tmp_path / "monday.db").file
    saved = file.read_bytes()
    await write_workers(database, "w-2")

    restored = restore(file, database)

    assert restored.kept == database.with_name("lyftdata.db.before-restore-20260301T120000Z")
    assert stat.S_IMODE(database.stat().st_mode) == 0o600
    assert file.read_bytes() == saved
    assert await ids_in(database) == {"w-1"}
    assert await ids_in(restored.kept) == {"w-1", "w-2"}


async def test_a_second_restore_in_the_same_second_is_refused(database, tmp_path):
    """The database kept by the first is not overwritten: the second changes nothing."""
    await write_workers(database, "w-1")
    file = back_up(database, tmp_path / "monday.db").file
    restore(file, database)
    before = contents_of(database.parent)

    with pytest.raises(StoreError, match="cannot be written to: File exists"):
        restore(file, database)

    assert contents_of(database.parent) == before


async def test_a_backup_can_be_restored_into_an_empty_directory(database, tmp_path):
    """On a new host there is no previous database to keep."""
    await write_workers(database, "w-1")
    file = back_up(database, tmp_path / "monday.db").file
    fresh = tmp_path / "fresh" / "lyftdata.db"
    fresh.parent.mkdir()

    assert restore(file, fresh).kept is None
    assert await ids_in(fresh) == {"w-1"}


async def test_the_previous_database_is_kept_with_its_log(database, tmp_path):
    """Commits of a crashed Server are in the log, which must not be applied to the restored database."""
    await write_workers(database, "w-1")
    file = back_up(database, tmp_path / "monday.db").file
    store = open_store(database)
    await add(store, "w-late")
    crashed = tmp_path / "crashed" / "lyftdata.db"
    crashed.parent.mkdir()
    for part in ("", "-wal"):
        shutil.copy(f"{database}{part}", f"{crashed}{part}")
    await store.close()

    restored = restore(file, crashed)

    assert await ids_in(crashed) == {"w-1"}
    assert await ids_in(restored.kept) == {"w-1", "w-late"}


async def test_a_damaged_previous_database_is_kept_with_its_log(database, tmp_path):
    """All data is kept for recovery; the log is not applied to the restored database."""
    await write_workers(database, "w-1")
    file = back_up(database, tmp_path / "monday.db").file
    database.write_bytes(b"not a database at all" * 400)
    log = database.with_name("lyftdata.db-wal")
    log.write_bytes(b"what was in it")

    restored = restore(file, database)

    assert restored.kept.read_bytes() == b"not a database at all" * 400
    assert restored.kept.with_name(f"{restored.kept.name}-wal").read_bytes() == b"what was in it"
    assert await ids_in(database) == {"w-1"}


async def test_the_database_of_a_running_server_is_not_replaced(database, tmp_path):
    """It would continue writing to a file that is not found again."""
    await write_workers(database, "w-1")
    file = back_up(database, tmp_path / "monday.db").file
    store = open_store(database)

    with pytest.raises(StoreError, match="A Server is using the database"):
        restore(file, database)
    await add(store, "w-2")
    await store.close()

    assert await ids_in(database) == {"w-1", "w-2"}
    assert not list(database.parent.glob("*.before-restore-*"))


def tampered(file):
    """Change the audit log of a backup."""
    with sqlite3.connect(file) as raw:
        raw.execute("UPDATE audit_events SET actor = 'operator:eve'")
    raw.close()


def newer(file):
    """Give a backup the version of a schema that this program cannot work with."""
    with sqlite3.connect(file) as raw:
        raw.execute("UPDATE alembic_version SET version_num = '9999'")
        raw.execute("UPDATE schema_floor SET oldest = '9999'")
    raw.close()


def other_database(file):
    """Replace a backup by the database of another program."""
    file.unlink()
    with sqlite3.connect(file) as raw:
        raw.execute("CREATE TABLE theirs (id INTEGER)")
    raw.close()


@pytest.mark.parametrize("there", [True, False])
@pytest.mark.parametrize(
    ("harm", "key", "problem"),
    [
        (lambda _: None, b"z" * 32, "does not fit the secret key"),
        (tampered, AUDIT_KEY, "does not fit the secret key"),
        (newer, AUDIT_KEY, "newer version"),
        (other_database, AUDIT_KEY, "not a lyftdata database"),
        (damage, AUDIT_KEY, "damaged|cannot be read|cannot be copied"),
        (empty_an_index, AUDIT_KEY, "damaged"),
        (lambda file: file.write_text("hello"), AUDIT_KEY, "cannot be"),
        (lambda file: file.write_text(""), AUDIT_KEY, "no database at"),
    ],
)
async def test_an_unsuitable_backup_is_not_restored(database, tmp_path, harm, key, problem, there):
    """Another secret key, a changed log, a newer version or another kind of file: everything stays as it was."""
    await write_workers(database, "w-1")
    file = back_up(database, tmp_path / "monday.db").file
    harm(file)
    if not there:
        shutil.rmtree(database.parent)
        database.parent.mkdir()
    before = contents_of(database.parent)

    with pytest.raises(StoreError, match=problem):
        restore(file, database, key)

    assert contents_of(database.parent) == before


class Interrupted:
    """Ctrl-C at the first report of a stage."""

    def __init__(self, stage):
        self.stage = stage

    def __call__(self, stage, _done, _total):
        if stage == self.stage:
            raise KeyboardInterrupt


STAGES = ["Copying", "Checking the database", "Checking the audit log"]


@pytest.mark.parametrize("stage", STAGES)
async def test_an_interrupted_backup_leaves_nothing(database, tmp_path, stage):
    """Neither the file nor a temporary one; the next backup works."""
    await write_workers(database, "w-1")
    target = tmp_path / "interrupted"
    target.mkdir()

    with pytest.raises(KeyboardInterrupt):
        backup.back_up(database, target / "monday.db", audit_key=AUDIT_KEY, on_progress=Interrupted(stage))

    assert list(target.iterdir()) == []
    assert back_up(database, target / "monday.db").audit.ok


@pytest.mark.parametrize("stage", STAGES)
async def test_an_interrupted_restore_changes_nothing(database, tmp_path, stage):
    """The database is unchanged, and there is no temporary file next to it."""
    await write_workers(database, "w-1")
    file = back_up(database, tmp_path / "monday.db").file
    await write_workers(database, "w-2")
    before = contents_of(database.parent)

    with pytest.raises(KeyboardInterrupt):
        backup.restore(file, database, audit_key=AUDIT_KEY, now=NOON, on_progress=Interrupted(stage))

    assert contents_of(database.parent) == before
    assert await ids_in(database) == {"w-1", "w-2"}


async def test_ctrl_c_is_deferred_while_the_databases_are_renamed(database, tmp_path, monkeypatch):
    """A SIGINT between the two renames takes effect after them: both states are complete."""
    await write_workers(database, "w-1")
    file = back_up(database, tmp_path / "monday.db").file
    await write_workers(database, "w-2")
    keep_previous_database = backup._keep_previous_database

    def interrupted(*arguments):
        os.kill(os.getpid(), signal.SIGINT)
        return keep_previous_database(*arguments)

    monkeypatch.setattr(backup, "_keep_previous_database", interrupted)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            restore(file, database)
    finally:
        signal.signal(signal.SIGINT, before)

    (kept,) = database.parent.glob("*.before-restore-*Z")
    assert await ids_in(database) == {"w-1"}
    assert await ids_in(kept) == {"w-1", "w-2"}
