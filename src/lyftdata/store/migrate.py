"""Bringing a database's schema up to date, in the process that opens it (Alembic)."""

from importlib import resources

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine

from lyftdata.store.errors import StoreError


def upgrade(engine: Engine) -> None:
    """
    Bring the schema to this program's version, in one transaction.

    Raises:
        StoreError: The database was written by a newer version of this program.
    """
    config = _config()
    with engine.begin() as conn:
        _check_known(conn, config)
        config.attributes["connection"] = conn
        command.upgrade(config, "head")


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(resources.files("lyftdata.store") / "migrations"))
    config.set_main_option("path_separator", "os")
    return config


def _check_known(conn: Connection, config: Config) -> None:
    current = MigrationContext.configure(conn).get_current_revision()
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    if current is not None and current not in known:
        raise StoreError(
            f"The database is of a newer version of lyftdata (schema {current}).",
            hint="Start that version, or restore a backup from before the upgrade.",
        )
