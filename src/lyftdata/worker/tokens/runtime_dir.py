"""
A directory for the token file and the token socket that exists as long as the agent.

It has mode 0700 and a name that cannot be guessed. It is not in the Worker's own directory unless there is no other
place: the COMMAND gets its path, and need not learn where the identity key is.
"""

import contextlib
import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from lyftdata.temporary_directory import (
    TemporaryDirectory,
    is_safe_directory,
    longest_path,
    make_temporary_directory,
)
from lyftdata.worker.identity.state import StateError

TOKEN_FILE = "token"  # noqa: S105 - a file's name
TOKEN_SOCKET = "token.sock"  # noqa: S105
_PREFIX = "lyftdata-agent-"
# sun_path holds 108 bytes on Linux and 104 on macOS, including the terminating zero.
_MAX_SOCKET_PATH = 103


@contextlib.contextmanager
def runtime_directory(environ: Mapping[str, str], *, jobs_dir: Path | None) -> Iterator[Path]:
    """
    Create the directory, and remove it with its content at the end; first remove those of agents that were killed.

    Args:
        environ: Names the runtime directory of systemd (`RUNTIME_DIRECTORY`) or of the login (`XDG_RUNTIME_DIR`).
        jobs_dir: The Worker's own directory, if it has one, for hosts without any place for temporary files.

    Raises:
        StateError: No such place is writable.
    """
    with _make_in_first_possible(_places(environ, jobs_dir)) as directory:
        yield directory.path


def _places(environ: Mapping[str, str], jobs_dir: Path | None) -> Iterator[Path]:
    for name in ("RUNTIME_DIRECTORY", "XDG_RUNTIME_DIR"):
        # For a unit with several directories, systemd separates them by colons.
        given = environ.get(name, "").partition(":")[0]
        if given:
            yield Path(given)
    with contextlib.suppress(FileNotFoundError):
        yield Path(tempfile.gettempdir())
    if jobs_dir is not None:
        yield jobs_dir


def _make_in_first_possible(places: Iterator[Path]) -> TemporaryDirectory:
    for place in places:
        longest = len(os.fsencode(longest_path(place, prefix=_PREFIX) / TOKEN_SOCKET))
        # Substitution: others who may rename the directory could put their own under its name.
        if longest <= _MAX_SOCKET_PATH and is_safe_directory(place):
            with contextlib.suppress(OSError):
                return make_temporary_directory(place, prefix=_PREFIX)
    raise StateError(
        "There is no directory for the COMMAND's token file and socket.",
        hint="Set XDG_RUNTIME_DIR to a directory of this user's own, with a path of at most 68 characters.",
    )
