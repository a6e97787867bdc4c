"""Finds the Server's state for the commands that work on it on its host."""

import os
from typing import TYPE_CHECKING

import click

from lyftdata.cli.run import require_server

if TYPE_CHECKING:
    from lyftdata.server.runtime.maintenance import StateLocation

staging_option = click.option(
    "--staging-dir", metavar="DIR", help="The Server's data directory. [LYFTDATA_STAGING_DIR]"
)


def find_state(staging_dir: str | None) -> "StateLocation":
    """Read where the Server's state is, from the option and the environment; raises SettingsError."""
    require_server()
    from lyftdata.server.runtime.maintenance import read_state_location

    # Only the owner can read written files (copies, and the files that SQLite creates next to them).
    os.umask(0o077)
    return read_state_location(os.environ, staging_dir=staging_dir)
