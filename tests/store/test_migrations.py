"""Schema upgrades while Servers run: the previous version still works, or the database says that it does not."""

import shutil
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import MetaData, create_engine, inspect, select
from tests.builders import NOON, event, worker
from tests.store.conftest import AUDIT_KEY, run_directly
from tests.store.rows import make_filled

from lyftdata.core.records import ServerRecord, WorkerTraces
from lyftdata.store import Store, StoreError, migrate
from lyftdata.store.dialects import dialect
from lyftdata.store.schema import metadata
from lyftdata.store.tables import activity, servers, workers

OURS = migrate.newest_version()
FLOOR = migrate.floor_of(list(ScriptDirectory.from_config(migrate.configuration()).walk_revisions())[::-1])

ADDITIVE = """
import sqlalchemy as sa
from alembic import op

revision = "9999"
down_revision = "{before}"
branch_labels = None
depends_on = None
oldest_program = "{floor}"


def upgrade():
    op.add_column("workers", sa.Column("favourite", sa.String(length=16), nullable=True))
    op.create_table("hats", sa.Column("id", sa.Integer(), primary_key=True))
"""


@pytest.fixture
def next_version(tmp_path, monkeypatch):
    """Return a function that opens a store as the next version of the program would, with a script that declares its floor."""

    def open_store(url, *, floor):
        theirs = tmp_path / "migrations"
        if not theirs.exists():
            shutil.copytree(migrate.LOCATION, theirs)
        (theirs / "versions" / "9999_next.py").write_text(ADDITIVE.format(before=OURS, floor=floor))
        with monkeypatch.context() as patched:
            patched.setattr(migrate, "LOCATION", str(theirs))
            return Store.open(url, audit_key=AUDIT_KEY)

    return open_store


def add(worker_id):
    """Return an operation that adds a Worker, with its audit event."""

    def op(tx):
        workers.insert_worker(tx, worker(worker_id), unique_name=True)
        tx.audit(event(subject=f"worker:{worker_id}"))

    return op


async def ids(store):
    """Return the IDs of all Workers."""
    return {found.id for found in await store.read(lambda conn: list(workers.all_workers(conn)))}


def version(url):
    """Return the schema version, and the oldest version whose programs can work with it."""
    [found] = run_directly(url, "SELECT version_num, (SELECT oldest FROM schema_floor) FROM alembic_version")
    return tuple(found)


async def test_a_running_server_continues_while_the_next_version_upgrades(request, next_version):
    """On PostgreSQL, a Server of the previous version can write, read and append to the audit log after the upgrade."""
    url = request.getfixturevalue("cluster").new_database()
    running = Store.open(url, audit_key=AUDIT_KEY)
    await running.write(add("w-1"))

    upgraded = next_version(url, floor=OURS)
    await running.write(add("w-2"))
    await upgraded.write(add("w-3"))
    await running.write(
        lambda tx: activity.upsert_traces(tx, [WorkerTraces(worker_id="w-3", last_seen_at=NOON)])
    )

    assert version(url) == ("9999", OURS)
    assert await ids(running) == await ids(upgraded) == {"w-1", "w-2", "w-3"}
    assert (await running.verify_audit()).ok
    await running.close()
    await upgraded.close()


async def test_a_server_of_the_previous_version_starts_on_an_upgraded_database(database_url, next_version):
    """It leaves the newer schema unchanged, as far as the floor allows."""
    await next_version(database_url, floor=OURS).close()

    store = Store.open(database_url, audit_key=AUDIT_KEY)
    await store.write(add("w-1"))

    assert await ids(store) == {"w-1"}
    assert (await store.verify_audit()).ok
    await store.close()
    assert version(database_url) == ("9999", OURS)
    assert "favourite" in {column["name"] for column in columns(database_url)["workers"]}


@pytest.mark.parametrize(("floor", "is_refused"), [("9999", True), (OURS, False)])
async def test_an_incompatible_upgrade_waits_until_older_servers_have_stopped(
    request, next_version, floor, is_refused
):
    """While a Server of the previous version has a recent heartbeat, an upgrade that it could not work with is refused."""
    url = request.getfixturevalue("cluster").new_database()
    running = Store.open(url, audit_key=AUDIT_KEY)
    me = ServerRecord(
        id=running.server_id, host="a", address="a:1", version="0.1", started_at=NOON, beat_at=NOON
    )
    await running.write(lambda tx: servers.upsert_server(tx, me))

    if is_refused:
        with pytest.raises(StoreError, match=r"earlier version are running \(1\)"):
            next_version(url, floor=floor)
        await running.write(add("w-1"))
        assert version(url) == (OURS, FLOOR)
        await running.write(lambda tx: servers.remove(tx, running.server_id))
    await running.close()

    await next_version(url, floor=floor).close()
    assert version(url) == ("9999", floor)


@pytest.mark.parametrize("floor", ["9999", "9998", ""])
async def test_a_server_below_the_floor_does_not_start(database_url, next_version, floor):
    """A floor above this program's version, or an unknown one, keeps it from starting."""
    await next_version(database_url, floor="9999").close()
    run_directly(database_url, "UPDATE schema_floor SET oldest = :floor", floor=floor)

    with pytest.raises(StoreError, match=r"newer version of lyftdata \(schema 9999\)"):
        Store.open(database_url, audit_key=AUDIT_KEY)
    assert version(database_url) == ("9999", floor)


@pytest.mark.parametrize("lost", ["DELETE FROM schema_floor", "DROP TABLE schema_floor"])
async def test_a_newer_database_without_a_floor_is_refused(database_url, next_version, lost):
    """Without a floor, compatibility is not assumed."""
    await next_version(database_url, floor=OURS).close()
    run_directly(database_url, lost)

    with pytest.raises(StoreError, match="newer version"):
        Store.open(database_url, audit_key=AUDIT_KEY)


async def test_a_missing_floor_is_written_at_the_next_start(database_url):
    """In a database of this version."""
    await Store.open(database_url, audit_key=AUDIT_KEY).close()
    run_directly(database_url, "DELETE FROM schema_floor")

    await Store.open(database_url, audit_key=AUDIT_KEY).close()

    assert version(database_url) == (OURS, FLOOR)


def test_a_later_script_cannot_lower_the_floor(next_version, tmp_path):
    """The floor is the highest of all scripts; a script without one counts as its own version."""
    next_version(f"sqlite:///{tmp_path / 'any.db'}", floor="0001")._engine.dispose()
    scripts = list(ScriptDirectory(str(tmp_path / "migrations")).walk_revisions())[::-1]

    assert scripts[-1].revision == "9999"
    assert migrate.floor_of(scripts) == FLOOR
    del scripts[-1].module.oldest_program
    assert migrate.floor_of(scripts) == "9999"


def engine_of(url):
    """Return an engine that is not a store's."""
    return create_engine(url.replace("postgresql:", "postgresql+psycopg:"))


def columns(url):
    """Return every table's columns, as in the database."""
    engine = engine_of(url)
    found = inspect(engine)
    tables = {name: found.get_columns(name) for name in found.get_table_names()}
    engine.dispose()
    return tables


def upgrade_to(url, revision):
    """Upgrade a database to a version."""
    engine = dialect.make_engine(url)
    with dialect.migrating(engine) as conn:
        config = migrate.configuration()
        config.attributes["connection"] = conn
        command.upgrade(config, revision)
    engine.dispose()


def breaks_previous_version(before, after):
    """Return why programs that know `before` cannot work with `after`, one sentence each."""
    problems = []
    for table, old in before.items():
        new = {column["name"]: column for column in after.get(table, [])}
        known = {column["name"] for column in old}
        for column in old:
            name = f"{table}.{column['name']}"
            if column["name"] not in new:
                problems.append(f"{name} is gone")
            elif str(column["type"]) != str(new[column["name"]]["type"]):
                problems.append(f"{name} has another type")
            elif column["nullable"] and not new[column["name"]]["nullable"]:
                problems.append(f"{name} must be given now")
        problems += [
            f"{table}.{name} must be given"
            for name, column in new.items()
            if name not in known and not column["nullable"] and column["default"] is None
        ]
    return problems


def test_every_migration_declares_whether_the_previous_version_can_continue(database_url):
    """Each script declares its floor; if it is below the script itself, no column is removed, and new ones need no value."""
    scripts = list(ScriptDirectory.from_config(migrate.configuration()).walk_revisions())[::-1]
    order = [script.revision for script in scripts]
    assert len(order) >= 5

    before: dict[str, list[Any]] = {}
    for script in scripts:
        assert script.module.oldest_program in order, f"{script.revision} says no floor that is known"
        assert order.index(script.module.oldest_program) <= order.index(script.revision)
        upgrade_to(database_url, script.revision)
        after = columns(database_url)
        if script.module.oldest_program != script.revision:
            assert breaks_previous_version(before, after) == []
        before = after


@pytest.mark.parametrize(
    ("after", "problem"),
    [
        ([], "workers.id is gone"),
        ([("id", "INTEGER", False, None)], "workers.id has another type"),
        ([("id", "TEXT", False, None)], "workers.id must be given now"),
        ([("id", "TEXT", True, None), ("hat", "TEXT", False, None)], "workers.hat must be given"),
        ([("id", "TEXT", True, None), ("hat", "TEXT", True, None)], None),
        ([("id", "TEXT", True, None), ("hat", "TEXT", False, "'none'")], None),
    ],
)
def test_the_check_of_migrations_detects_incompatible_changes(after, problem):
    """Each way to break the previous version is detected, and additions pass."""

    def table(rows):
        return [dict(zip(("name", "type", "nullable", "default"), row, strict=True)) for row in rows]

    found = breaks_previous_version(
        {"workers": table([("id", "TEXT", True, None)])}, {"workers": table(after), "new": table([])}
    )

    assert found == ([problem] if problem else [])


def test_the_migrations_create_the_schema_in_code(database_url):
    """The database after the scripts equals the tables in code, including types and indexes."""
    upgrade_to(database_url, "head")
    engine = engine_of(database_url)
    with engine.connect() as conn:
        context = MigrationContext.configure(
            conn, opts={"compare_type": True, "compare_server_default": True}
        )
        found = compare_metadata(context, metadata)
    engine.dispose()

    assert found == []


def everything(conn, names, known):
    """Return all rows of tables, restricted to the known columns."""
    found = MetaData()
    found.reflect(conn)
    rows = {}
    for name in names:
        query = select(*(found.tables[name].c[column["name"]] for column in known[name]))
        rows[name] = {tuple(map(repr, row)) for row in conn.execute(query)}
    return rows


async def test_an_upgrade_keeps_all_data(database_url):
    """Rows in every table of version 0003 are still there, and the audit chain continues."""
    names = make_filled(database_url, revision="0003", events=1)
    engine = engine_of(database_url)
    known = columns(database_url)
    with engine.connect() as conn:
        before = everything(conn, names, known)
    assert len(before) >= 13
    assert all(before.values())

    store = Store.open(database_url, audit_key=AUDIT_KEY)
    with engine.connect() as conn:
        assert everything(conn, names, known) == before
    engine.dispose()
    assert store.audit_is_sound
    await store.write(add("w-2"))
    report = await store.verify_audit()
    assert (report.ok, report.head_number) == (True, 2)
    assert await ids(store) == {"w-1", "w-2"}
    await store.close()
