"""Checks that other users of this host cannot read files of secrets."""

import os
import shlex
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path

from lyftdata.core.secret_text import trim
from lyftdata.core.settings import SECRET_VARIABLES
from lyftdata.doctor import findings
from lyftdata.doctor.findings import Finding

_OTHERS = stat.S_IRWXG | stat.S_IRWXO
_ENTER = stat.S_IXGRP | stat.S_IXOTH


def check_secret_files(environ: Mapping[str, str]) -> Iterator[Finding]:
    """Yield each file that a variable `…_FILE` names and that is open to others."""
    for name in SECRET_VARIABLES:
        path = trim(environ.get(f"{name}_FILE", ""))
        if path:
            yield from check_private(f"{name}_FILE", Path(path))


def check_private(named_by: str, path: Path) -> Iterator[Finding]:
    """
    Yield what lets others use a file.

    A mount of a container runtime belongs to root and is read-only: it may be closed by its directory alone.
    """
    try:
        status = path.stat()
        mode = status.st_mode
        is_open = stat.S_ISREG(mode) and mode & _OTHERS and _others_can_enter(path)
    except (OSError, ValueError):
        # What cannot be read is a fault of the settings.
        return
    if is_open:
        yield Finding(
            findings.SECRET_FILE_EXPOSED,
            f"{named_by}: {path} has mode {stat.S_IMODE(mode):04o}, so other users of this host can use it.",
            _close(path, owner=status.st_uid),
        )


def _close(path: Path, *, owner: int) -> str:
    """Return the command after which only this user can read a file; one of another user's it reads by its group."""
    quoted, user = shlex.quote(str(path)), os.geteuid()
    return f"chmod 600 {quoted}" if owner == user else f"chown {user} {quoted} && chmod 600 {quoted}"


def _others_can_enter(path: Path) -> bool:
    return all(parent.stat().st_mode & _ENTER for parent in path.absolute().parents)
