"""Checks that other users of this host cannot read files of secrets."""

import grp
import os
import pwd
import shlex
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path

from lyftdata.core.secret_text import trim
from lyftdata.core.settings import SECRET_VARIABLES
from lyftdata.doctor import findings
from lyftdata.doctor.findings import Finding

_OTHERS = stat.S_IRWXG | stat.S_IRWXO
_READ_BY_GROUP = 0o640
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

    A mount of a container runtime belongs to root and is read-only: it may be closed by its directory alone. A file of root's may be read
    by the group of this very user (`install -m 640 -g USER`), who then cannot change it.
    """
    try:
        status = path.stat()
        mode = status.st_mode
        is_open = stat.S_ISREG(mode) and mode & _OTHERS and _others_can_enter(path)
        is_open = is_open and not _is_by_own_group(status)
    except (OSError, ValueError):
        # What cannot be read is a fault of the settings.
        return
    if is_open:
        yield Finding(
            findings.SECRET_FILE_EXPOSED,
            f"{named_by}: {path} has mode {stat.S_IMODE(mode):04o}, so other users of this host can use it.",
            _close(path, owner=status.st_uid),
        )


def _is_by_own_group(status: os.stat_result) -> bool:
    """Return whether root lets a group read a file, and this user alone is in it."""
    if status.st_uid != 0 or os.geteuid() == 0 or stat.S_IMODE(status.st_mode) & ~_READ_BY_GROUP:
        return False
    try:
        user, group = pwd.getpwuid(os.geteuid()), grp.getgrgid(status.st_gid)
    except KeyError:
        return False
    return (
        user.pw_gid == group.gr_gid and user.pw_name == group.gr_name and set(group.gr_mem) <= {user.pw_name}
    )


def _close(path: Path, *, owner: int) -> str:
    """Return the command after which only this user can read a file; one of another user's it reads by its group."""
    quoted, user = shlex.quote(str(path)), os.geteuid()
    return f"chmod 600 {quoted}" if owner == user else f"chown {user} {quoted} && chmod 600 {quoted}"


def _others_can_enter(path: Path) -> bool:
    return all(parent.stat().st_mode & _ENTER for parent in path.absolute().parents)
