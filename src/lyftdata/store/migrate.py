"""
Upgrades a database's schema in the process that opens it (Alembic).

Each script in `migrations/versions` declares with `oldest_program` the oldest schema version whose programs can work with the
database afterwards. A script without it is incompatible with every older version. The database stores the highest of them
(`schema_floor`), so that Servers of the previous version keep running, and can start, while others are upgraded. An upgrade that
running Servers could not survive is refused while they run: they have no way to find out.
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
# Longer than the interval between heartbeats of a live Server.
_HEARTBEAT_WITHIN = timedelta(seconds=10)


def upgrade(conn: Connection) -> bool:
    """
    Upgrade the schema to this program's version, in the caller's transaction; return whether the database was empty.

    A newer schema that declares this program compatible is left as it is.

    Raises:
        StoreError: A newer, incompatible version of this program wrote the database, or Servers are running that could not work
         with it after the upgrade.
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
    # Also if the schema was up to date: the first program of version 0005 did not write it.
    dialect.upsert(conn, schema_floor, [{"id": _FLOOR_ID, "oldest": floor}])
    return current is None


def current_version(conn: Connection) -> str | None:
    """Return the version of a database's schema, None if it has none yet."""
    return MigrationContext.configure(conn).get_current_revision()


def newest_version() -> str:
    """Return the schema version of this program."""
    return str(ScriptDirectory.from_config(configuration()).get_current_head())


def check_known(conn: Connection) -> None:
    """
    Make sure that this program can work with a database, or can upgrade it.

    Raises:
        StoreError: It can do neither.
    """
    scripts = _oldest_first(configuration())
    current = current_version(conn)
    if current is None:
        raise StoreError("It is not a lyftdata database.")
    if current not in {script.revision for script in scripts}:
        _check_survivable(conn, current, scripts)


def configuration() -> Config:
    """Return Alembic's configuration: where the scripts are."""
    config = Config()
    # The parser of configurations interprets a per cent sign, which a path may contain.
    config.set_main_option("script_location", LOCATION.replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config


def floor_of(scripts: list[Script]) -> str:
    """
    Return the oldest version whose programs can work with the result of all of these scripts; `scripts` is oldest first.

    The highest one counts: a later script cannot restore compatibility that an earlier one broke.
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
    # SQLite's file lock has ruled this out already; before version 0005 a database had only one Server.
    if not dialect.is_shared(conn.engine) or not inspect(conn).has_table(servers_table.name):
        return
    if running := servers.list_live(conn, silent_for=_HEARTBEAT_WITHIN):
        raise StoreError(
            f"Servers of an earlier version are running ({len(running)}) that cannot work with the database once it is "
            "upgraded; nothing was changed.",
            hint="Stop them all, then start this one. One that crashed counts as running for some seconds.",
        )


def _check_survivable(conn: Connection, current: str, scripts: list[Script]) -> None:
    # A floor that this program knows is at or below its own version, since the versions form one line. Without a stored floor, the
    # database is incompatible.
    floor = None
    if inspect(conn).has_table(schema_floor.name):
        floor = conn.execute(select(schema_floor.c.oldest)).scalar()
    if floor not in {script.revision for script in scripts}:
        raise StoreError(
            f"The database is of a newer version of lyftdata (schema {current}).",
            hint="Start that version, or restore a backup from before the upgrade.",
        )
