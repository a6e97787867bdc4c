"""
Upgrades a database's schema in the process that opens it (Alembic).

Each script in `migrations/versions` says which programs survive it: `oldest_program` is the oldest schema version whose
programs can work with the database afterwards. A script that says nothing is incompatible with every older version. The database holds
the highest of them (`schema_floor`), so that Servers of the version before go on, and start, while others are upgraded. Those
that would not survive it keep it from being done for as long as they run: they could not find out.
"""

from datetime import timedelta
from importlib import resources

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import Script, ScriptDirectory
from sqlalchemy import Connection, inspect, select

from lyftdata.store.dialects import dialect
from lyftdata.store.errors import StoreError
from lyftdata.store.schema import schema_floor
from lyftdata.store.schema import servers as servers_table
from lyftdata.store.tables import servers

LOCATION = str(resources.files("lyftdata.store") / "migrations")

_FLOOR_ID = 1
# Longer than a Server is silent while it lives.
_HEARTBEAT_WITHIN = timedelta(seconds=10)


def upgrade(conn: Connection) -> bool:
    """
    Bring the schema to this program's version, in the caller's transaction; return whether the database was empty.

    A newer schema that says that this program can work with it is left as it is.

    Raises:
        StoreError: The database was written by a newer version of this program, which this one cannot work with, or
            Servers are running that could not work with it afterwards.
    """
    config = configuration()
    scripts = _oldest_first(config)
    current = current_version(conn)
    if current is not None and current not in {script.revision for script in scripts}:
        _check_survivable(conn, current, scripts)
        return False
    floor = floor_of(scripts)
    if _is_above(floor, current, scripts):
        _check_no_older_server_runs(conn)
    config.attributes["connection"] = conn
    command.upgrade(config, "head")
    # At a schema that was up to date as well: the first program of version 0005 did not write it.
    dialect.upsert(conn, schema_floor, [{"id": _FLOOR_ID, "oldest": floor}])
    return current is None


def current_version(conn: Connection) -> str | None:
    """Return the version of a database's schema, None if it has none yet."""
    return MigrationContext.configure(conn).get_current_revision()


def newest_version() -> str:
    """Return the version of the schema that this program makes."""
    return str(ScriptDirectory.from_config(configuration()).get_current_head())


def check_known(conn: Connection) -> None:
    """
    Make sure that this program can work with a database, or bring it up to date.

    Raises:
        StoreError: It cannot.
    """
    scripts = _oldest_first(configuration())
    current = current_version(conn)
    if current is None:
        raise StoreError("It is not a lyftdata database.")
    if current not in {script.revision for script in scripts}:
        _check_survivable(conn, current, scripts)


def configuration() -> Config:
    """Return what Alembic is to know: where the scripts are."""
    config = Config()
    # The per cent sign means something to the parser of configurations, and nothing in a path.
    config.set_main_option("script_location", LOCATION.replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config


def floor_of(scripts: list[Script]) -> str:
    """
    Return the oldest version whose programs can work with what all of these scripts make, oldest first.

    The highest counts: what one script has cut off, no later one brings back.
    """
    order = [script.revision for script in scripts]
    floors = [str(getattr(script.module, "oldest_program", script.revision)) for script in scripts]
    return max(floors, key=order.index)


def _oldest_first(config: Config) -> list[Script]:
    return list(ScriptDirectory.from_config(config).walk_revisions())[::-1]


def _is_above(floor: str, current: str | None, scripts: list[Script]) -> bool:
    order = [script.revision for script in scripts]
    return current is not None and order.index(floor) > order.index(current)


def _check_no_older_server_runs(conn: Connection) -> None:
    # SQLite's file lock has settled it already; before version 0005 there was one Server a database.
    if not dialect.is_shared(conn.engine) or not inspect(conn).has_table(servers_table.name):
        return
    if running := servers.list_live(conn, silent_for=_HEARTBEAT_WITHIN):
        raise StoreError(
            f"Servers of an earlier version are running ({len(running)}) that cannot work with the database once it is "
            "brought up to date; nothing was changed.",
            hint="Stop them all, then start this one. One that crashed counts as running for some seconds.",
        )


def _check_survivable(conn: Connection, current: str, scripts: list[Script]) -> None:
    # A floor that this program knows is at or below its own version, since the versions are one line. What is not
    # written down is not survivable.
    floor = None
    if inspect(conn).has_table(schema_floor.name):
        floor = conn.execute(select(schema_floor.c.oldest)).scalar()
    if floor not in {script.revision for script in scripts}:
        raise StoreError(
            f"The database is of a newer version of lyftdata (schema {current}).",
            hint="Start that version, or restore a backup from before the upgrade.",
        )
