"""The Server's data directory."""

import os
from pathlib import Path

from lyftdata.core.errors import SettingsError
from lyftdata.private_files import PrivateDirectory

_SETTING = "LYFTDATA_STAGING_DIR"
_DATABASE_FILE = "lyftdata.db"


def prepare_staging_dir(path: Path) -> None:
    """
    Create the data directory (0700), or check that no other user can read an existing one.

    Raises:
        SettingsError: It cannot be created, is not a directory, belongs to another user, or is accessible to others.
    """
    try:
        private_directory(path).make()
    except OSError as error:
        raise cannot_be_used(path, error) from error
    _check_writable(path)


def check_staging_dir(path: Path) -> None:
    """
    Check that the data directory belongs to the Server's user and no other user can read it.

    Raises:
        SettingsError: It does not exist, belongs to another user, is accessible to others, or is not writable.
    """
    try:
        private_directory(path).check()
    except OSError as error:
        raise cannot_be_used(path, error) from error
    _check_writable(path)


def check_staging_dir_or_parent(path: Path) -> None:
    """
    Check the data directory or, if there is none, that it can be created.

    Raises:
        SettingsError: It cannot be used or created.
    """
    try:
        if private_directory(path).exists():
            check_staging_dir(path)
            return
        above = next(parent for parent in path.parents if parent.exists())
    except OSError as error:
        raise cannot_be_used(path, error) from error
    if not above.is_dir() or not os.access(above, os.W_OK | os.X_OK):
        raise SettingsError(
            [f"{_SETTING}: {path} cannot be made: {above} is not a directory that this user can write to."]
        )


def private_directory(path: Path) -> PrivateDirectory:
    """Return the data directory and its files; nothing is checked yet."""
    return PrivateDirectory(path, named_by=_SETTING, child="server")


def _check_writable(path: Path) -> None:
    if not os.access(path, os.W_OK | os.X_OK):
        raise SettingsError([f"{_SETTING}: {path} cannot be written to."])


def cannot_be_used(path: Path, error: OSError) -> SettingsError:
    """Return the error for a data directory that cannot be used."""
    return SettingsError([f"{_SETTING}: {path} cannot be used: {error.strerror}."])


def database_file(path: Path) -> Path:
    """Return the path of the SQLite database in a data directory, used unless LYFTDATA_DATABASE_URL names another."""
    return path / _DATABASE_FILE
