"""Bringing a database's schema up to date, in the process that opens it (Alembic)."""

from importlib import resources

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

from lyftdata.store.errors import StoreError


def upgrade(conn: Connection) -> bool:
    """
    Bring the schema to this program's version, in the caller's transaction; return whether the database was empty.

    Raises:
        StoreError: The database was written by a newer version of this program.
    """
    config = _config()
    current = MigrationContext.configure(conn).get_current_revision()
    _check_known(current, config)
    config.attributes["connection"] = conn
    command.upgrade(config, "head")
    return current is None


def _config() -> Config:
    config = Config()
    # The per cent sign means something to the parser of configurations, and nothing in a path.
    script_location = str(resources.files("lyftdata.store") / "migrations").replace("%", "%%")
    config.set_main_option("script_location", script_location)
    config.set_main_option("path_separator", "os")
    return config


def _check_known(current: str | None, config: Config) -> None:
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    if current is not None and current not in known:
        raise StoreError(
            f"The database is of a newer version of lyftdata (schema {current}).",
            hint="Start that version, or restore a backup from before the upgrade.",
        )
