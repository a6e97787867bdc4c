"""
A directory for what lives as long as the agent: the token file and the token socket.

It has mode 0700 and a name that nobody can guess. Not in the Worker's own directory unless there is no other
place: the COMMAND is told where this one is, and need not learn where the identity key lies.
"""

import contextlib
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from lyftdata.worker.state import StateError

TOKEN_FILE = "token"  # noqa: S105 - a file's name
TOKEN_SOCKET = "token.sock"  # noqa: S105
_PREFIX = "lyftdata-"
# sun_path holds 108 bytes on Linux and 104 on macOS, the closing zero among them.
_MAX_SOCKET_PATH = 103
_UNIQUE_LENGTH = 8


@contextlib.contextmanager
def runtime_directory(environ: Mapping[str, str], *, jobs_dir: Path) -> Iterator[Path]:
    """
    Make the directory, and remove it with all that is in it.

    Args:
        environ: Tells where systemd (`RUNTIME_DIRECTORY`) or the login (`XDG_RUNTIME_DIR`) wants such things.
        jobs_dir: The Worker's own directory, for hosts without any place for temporary files.

    Raises:
        StateError: No place can be written to.
    """
    path = _make_in_one_of(_places(environ, jobs_dir))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def _places(environ: Mapping[str, str], jobs_dir: Path) -> Iterator[Path]:
    for name in ("RUNTIME_DIRECTORY", "XDG_RUNTIME_DIR"):
        # systemd names several, separated by colons, where a unit has several.
        given = environ.get(name, "").partition(":")[0]
        if given:
            yield Path(given)
    with contextlib.suppress(FileNotFoundError):
        yield Path(tempfile.gettempdir())
    yield jobs_dir


def _make_in_one_of(places: Iterator[Path]) -> Path:
    for place in places:
        longest = len(os.fsencode(place / f"{_PREFIX}{'x' * _UNIQUE_LENGTH}" / TOKEN_SOCKET))
        if longest <= _MAX_SOCKET_PATH and _nobody_else_can_swap_files_in(place):
            with contextlib.suppress(OSError):
                return Path(tempfile.mkdtemp(prefix=_PREFIX, dir=place))
    raise StateError(
        "There is no directory for the COMMAND's token file and socket.",
        hint="Set XDG_RUNTIME_DIR to a directory of this user's own, with a path of at most 80 characters.",
    )


def _nobody_else_can_swap_files_in(place: Path) -> bool:
    """Return whether a directory made here stays ours: whoever owns the place could put another in its stead."""
    try:
        status = place.stat()
    except OSError:
        return False
    open_to_all = status.st_mode & 0o022 and not status.st_mode & stat.S_ISVTX
    return stat.S_ISDIR(status.st_mode) and status.st_uid in {0, os.geteuid()} and not open_to_all
