"""
Private temporary directories that are removed at exit, or, after a kill, by the next program.

    with make_temporary_directory(Path("/run/user/1000"), prefix="lyftdata-agent-") as directory:
        directory.path      # mode 0700, a name that cannot be guessed

A killed program cannot remove its directory, which holds tokens. Each program keeps a lock on a file in its directory, which the
system releases when the process ends: a lyftdata directory whose lock is free is stale. The lock is taken before a directory is
used, and held while one is removed, so a directory in use never counts as stale, however many programs start at once.

Others may put anything into a shared place such as /tmp: only directories that belong to this user and are closed to everyone else
are considered, and no symbolic link is followed.
"""

import contextlib
import fcntl
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

_LOCK_FILE = "lock"
_UNIQUE_LENGTH = 8
_MAX_ATTEMPTS = 100


class TemporaryDirectory:
    """
    A directory of this program's own; close it, or use it with `with`.

    Args:
        path: The directory.
        lock: The descriptor of its lock file, locked.
    """

    def __init__(self, path: Path, lock: int) -> None:
        self.path = path
        self._lock = lock

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Remove the directory and its content."""
        shutil.rmtree(self.path, ignore_errors=True)
        os.close(self._lock)


def make_temporary_directory(place: Path, *, prefix: str) -> TemporaryDirectory:
    """
    Create a directory, after removing those of killed programs.

    Args:
        place: The parent; no other user may be able to move its entries (`is_safe_directory`).
        prefix: The prefix of the names: one for each kind of program.

    Raises:
        OSError: It cannot be created or locked.
    """
    remove_stale(place, prefix=prefix)
    for _ in range(_MAX_ATTEMPTS):
        path = Path(tempfile.mkdtemp(prefix=prefix, dir=place))
        # Until it is locked, another program may consider it stale and remove it.
        with contextlib.suppress(FileNotFoundError):
            lock = _try_lock(path, flags=os.O_CREAT)
            if lock is not None:
                return TemporaryDirectory(path, lock)
    raise OSError(f"No directory in {place} could be locked.")


def remove_stale(place: Path, *, prefix: str) -> None:
    """Remove the directories of this kind whose programs are gone."""
    for path in _candidates(place, prefix):
        with contextlib.suppress(OSError):
            # Its program was killed between creating and locking it, or has not locked it yet: remove it only if it is empty.
            path.rmdir()
            continue
        with contextlib.suppress(OSError):
            lock = _try_lock(path)
            if lock is not None:
                TemporaryDirectory(path, lock).close()


def is_safe_directory(place: Path) -> bool:
    """Return whether no other user can replace (rename or remove) a directory created here."""
    try:
        status = place.stat()
    except OSError:
        return False
    open_to_all = status.st_mode & 0o022 and not status.st_mode & stat.S_ISVTX
    return stat.S_ISDIR(status.st_mode) and status.st_uid in {0, os.geteuid()} and not open_to_all


def longest_path(place: Path, *, prefix: str) -> Path:
    """Return a path as long as those created here, for callers whose paths are limited in length."""
    return place / f"{prefix}{'x' * _UNIQUE_LENGTH}"


def _candidates(place: Path, prefix: str) -> Iterator[Path]:
    with contextlib.suppress(OSError), os.scandir(place) as entries:
        for entry in entries:
            if entry.name.startswith(prefix) and len(entry.name) == len(prefix) + _UNIQUE_LENGTH:
                yield Path(entry.path)


def _try_lock(path: Path, *, flags: int = 0) -> int | None:
    """
    Lock one of our directories; None if its program is running, or it belongs to another user.

    Raises:
        OSError: It is gone, is a link, or has no lock file.
    """
    directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        status = os.fstat(directory)
        if status.st_uid != os.geteuid() or stat.S_IMODE(status.st_mode) & 0o077:
            return None
        lock = os.open(_LOCK_FILE, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC | flags, 0o600, dir_fd=directory)
    finally:
        os.close(directory)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        return None
    except OSError:
        os.close(lock)
        raise
    if os.fstat(lock).st_nlink == 0:
        # Another program locked it first and has removed it since.
        os.close(lock)
        return None
    return lock
