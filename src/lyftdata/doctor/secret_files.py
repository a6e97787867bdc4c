"""Checks that other users of this host cannot read files that hold secrets."""

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
    """Yield a finding for each file named by a `…_FILE` variable that is open to others."""
    for name in SECRET_VARIABLES:
        path = trim(environ.get(f"{name}_FILE", ""))
        if path:
            yield from check_private(f"{name}_FILE", Path(path))


def check_private(named_by: str, path: Path) -> Iterator[Finding]:
    """
    Yield a finding if others can use a file.

    A mount of a container runtime belongs to root and is read-only: it may be protected by its directory only. A file of root may be
    readable by this user's own group (`install -m 640 -g USER`), so that the user cannot change it.
    """
    try:
        status = path.stat()
        mode = status.st_mode
        is_open = stat.S_ISREG(mode) and mode & _OTHERS and _others_can_enter(path)
        is_open = is_open and not _is_by_own_group(status)
    except (OSError, ValueError):
        # An unreadable file is reported as a fault of the settings.
        return
    if is_open:
        yield Finding(
            findings.SECRET_FILE_EXPOSED,
            f"{named_by}: {path} has mode {stat.S_IMODE(mode):04o}, so other users of this host can use it.",
            _close(path, owner=status.st_uid),
        )


def _is_by_own_group(status: os.stat_result) -> bool:
    """Return whether root owns the file and lets only this user's own group read it."""
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
    """Return the command that makes a file readable by this user only."""
    quoted, user = shlex.quote(str(path)), os.geteuid()
    return f"chmod 600 {quoted}" if owner == user else f"chown {user} {quoted} && chmod 600 {quoted}"


def _others_can_enter(path: Path) -> bool:
    return all(parent.stat().st_mode & _ENTER for parent in path.absolute().parents)
