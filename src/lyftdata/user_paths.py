"""
Expands paths that a user gives, and finds the default directories of a user.

A user may have no home directory: containers and services run under IDs that the system does not know, with or without
HOME. A program whose paths are all configured needs none, so a default is computed only when it is used.
"""

from pathlib import Path

import platformdirs

from lyftdata.core.errors import InvalidInputError, SettingsError

NO_HOME = "must be set, because this user has no home directory"
_APP = "lyftdata"


def parse_path(text: str) -> Path:
    """
    Read a path; `~` is the user's home directory.

    Raises:
        InvalidInputError: It depends on a home directory or a working directory that does not exist.
    """
    try:
        return Path(text).expanduser().absolute()
    except RuntimeError as error:
        raise InvalidInputError(
            "path", "must be an absolute path, because there is no such home directory"
        ) from error
    except OSError as error:
        # The working directory was removed.
        raise InvalidInputError(
            "path", f"must be an absolute path: the working directory cannot be used ({error.strerror})"
        ) from error


def default_data_dir() -> Path:
    """Return the Server's data directory; raises InvalidInputError if there is no home directory."""
    try:
        return parse_path("~/.local/lyftdata")
    except InvalidInputError as error:
        raise InvalidInputError("LYFTDATA_STAGING_DIR", NO_HOME) from error


def default_jobs_dir() -> Path | None:
    """Return the Worker's own directory; None if there is no home directory."""
    try:
        return parse_path(platformdirs.user_state_dir(_APP, appauthor=False)) / "worker"
    except (RuntimeError, InvalidInputError):
        return None


def default_config_dir() -> Path:
    """Return where the command line keeps its sessions; raises SettingsError if there is no home directory."""
    try:
        return parse_path(platformdirs.user_config_dir(_APP, appauthor=False))
    except (RuntimeError, InvalidInputError) as error:
        raise SettingsError([f"LYFTDATA_CONFIG_DIR: {NO_HOME}."]) from error


def is_visible(path: Path) -> bool:
    """Return whether this user can tell if the path exists; False behind a closed directory, such as another user's home."""
    try:
        path.stat()
    except PermissionError:
        return False
    except OSError:
        return True
    return True
