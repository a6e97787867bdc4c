"""
Creates, checks and writes private directories and files, which no other user can read.

The Server's data directory, the Worker's own, the command line's sessions and the files of `quickstart` all pass the same
check, at each use:

    directory   is a directory, this user's, and no other user has any right to it
    file        is a regular file, this user's, and no other user has any right to it

Root may read the directory of another user where the caller says so (`for_root`).

Attack stopped, TOCTOU: a directory is opened once, and its files are reached through that descriptor, so that a user who may
rename its parents cannot substitute another directory between check and use.
"""

import contextlib
import errno
import fcntl
import os
import secrets
import shlex
import stat
from collections.abc import Iterator
from pathlib import Path

from lyftdata.core.errors import SettingsError

_MAX_FILE_BYTES = 65_536
_OTHERS = 0o077
# Some file systems cannot sync a directory (old CIFS, some FUSE): there is nothing more that could be done.
_CANNOT_SYNC = {errno.EINVAL, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS}

# NFS locks only files that are open for writing, which a directory never is.
_CANNOT_LOCK = {errno.ENOLCK, errno.EOPNOTSUPP, errno.EBADF, errno.EINVAL}


class PrivateDirectory:
    """
    A directory of mode 0700, and its files.

    Args:
        path: The directory.
        named_by: The variable or option that sets it, for messages.
        child: A suitable name for a subdirectory, in case the directory is shared.
        for_root: Whether root may use the directory of another user.
    """

    def __init__(self, path: Path, *, named_by: str, child: str, for_root: bool = False) -> None:
        self.path = path
        self._named_by = named_by
        self._child = child
        self._for_root = for_root

    def make(self) -> None:
        """
        Create the directory, or check the existing one.

        Raises:
            SettingsError: It is not private.
            OSError: It cannot be created.
        """
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.check()

    def check(self) -> None:
        """
        Check the directory.

        Raises:
            SettingsError: It is not private.
            OSError: It does not exist, or cannot be opened.
        """
        with self._opened():
            pass

    def exists(self) -> bool:
        """
        Return whether it exists; raises SettingsError if that cannot be determined.

        A parent may be closed to this user, such as another user's home.
        """
        try:
            self.path.stat()
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError as error:
            raise self._fault(f"{self.path} cannot be used: {error.strerror}.") from error
        return True

    def read(self, name: str) -> bytes | None:
        """
        Return the content of a file, at most 64 KiB of it; None if there is no such file.

        Raises:
            SettingsError: Directory or file is not private.
            OSError: It cannot be read.
        """
        with self._opened() as directory:
            try:
                descriptor = os.open(
                    name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=directory
                )
            except FileNotFoundError:
                return None
            except OSError as error:
                if error.errno == errno.ELOOP:
                    raise self._fault(f"{self.path / name} is a symbolic link.") from error
                raise
            try:
                self._check_file(name, os.fstat(descriptor))
                # One read returns all of a regular file.
                return os.read(descriptor, _MAX_FILE_BYTES)
            finally:
                os.close(descriptor)

    def write(self, name: str, content: bytes) -> None:
        """
        Replace a file in one step: it is complete at every moment, with the old content or the new, even after a power cut.

        Two writers of one name must take turns.

        Raises:
            SettingsError: The directory is not private.
            OSError: It cannot be written; the old file is as it was.
        """
        with self._opened() as directory:
            _replace(directory, name, content, durable=True)

    def rename(self, name: str, to: str) -> None:
        """
        Rename a file atomically, replacing a file of that name.

        Raises:
            SettingsError: The directory is not private.
            OSError: It does not exist, or cannot be renamed.
        """
        with self._opened() as directory:
            os.replace(name, to, src_dir_fd=directory, dst_dir_fd=directory)
            _sync_directory(directory)

    def remove(self, name: str) -> None:
        """
        Remove a file if it exists, durably: it stays removed after a power cut.

        Raises:
            SettingsError: The directory is not private.
            OSError: It cannot be removed.
        """
        with self._opened() as directory:
            try:
                os.unlink(name, dir_fd=directory)
            except FileNotFoundError:
                return
            _sync_directory(directory)

    def create(self, name: str, content: bytes) -> bool:
        """
        Create a file atomically unless it exists; of several concurrent callers one wins.

        Returns:
            Whether it was created.

        Raises:
            SettingsError: The directory is not private.
            OSError: It cannot be written.
        """
        # A random name: a file that a crash has left behind must not prevent every later start.
        draft = f"{name}.{secrets.token_hex(8)}.new"
        with self._opened() as directory:
            try:
                _write_new(directory, draft, content, durable=True)
                # link() fails if the name exists.
                os.link(draft, name, src_dir_fd=directory, dst_dir_fd=directory)
            except FileExistsError:
                return False
            finally:
                with contextlib.suppress(OSError):
                    os.unlink(draft, dir_fd=directory)
            _sync_directory(directory)
            return True

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the lock within the block, to take turns with other programs; does not wait if the file system has no locks."""
        with self._opened() as directory:
            try:
                fcntl.flock(directory, fcntl.LOCK_EX)
            except OSError as error:
                if error.errno not in _CANNOT_LOCK:
                    raise
            yield

    @contextlib.contextmanager
    def _opened(self) -> Iterator[int]:
        try:
            descriptor = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except NotADirectoryError as error:
            raise self._fault(f"{self.path} is not a directory.") from error
        except PermissionError as error:
            self._check_directory(self.path.stat())
            raise self._fault(f"{self.path} cannot be used: {error.strerror}.") from error
        try:
            self._check_directory(os.fstat(descriptor))
            yield descriptor
        finally:
            os.close(descriptor)

    def _check_directory(self, status: os.stat_result) -> None:
        mode = stat.S_IMODE(status.st_mode)
        # A volume's mode is often reset at each mount, and a shared directory is not one user's to close.
        below = f"{self._named_by}={shlex.quote(str(self.path / self._child))}"
        if not self._may_use(status):
            raise self._fault(
                f"{self.path} belongs to another user (UID {status.st_uid}). Use a directory of this user's own; "
                f"if this is a volume that this user may write to, a directory in it: {below}"
            )
        if mode & _OTHERS:
            close = "" if mode & stat.S_ISVTX else f"Close it: chmod 700 {shlex.quote(str(self.path))}. "
            raise self._fault(
                f"others can read {self.path} (mode {mode:04o}). {close}"
                f"If it is a volume or a shared directory, use a directory in it, which is made private: {below}"
            )

    def _check_file(self, name: str, status: os.stat_result) -> None:
        file = self.path / name
        if not stat.S_ISREG(status.st_mode):
            raise self._fault(f"{file} is not a regular file.")
        if not self._may_use(status):
            raise self._fault(f"{file} belongs to another user (UID {status.st_uid}).")
        mode = stat.S_IMODE(status.st_mode)
        if mode & _OTHERS:
            raise self._fault(
                f"others can read or change {file} (mode {mode:04o}). Make sure that it is what you put there, "
                f"then close it: chmod 600 {shlex.quote(str(file))}"
            )

    def _may_use(self, status: os.stat_result) -> bool:
        user = os.geteuid()
        return status.st_uid == user or (self._for_root and user == 0)

    def _fault(self, problem: str) -> SettingsError:
        return SettingsError([f"{self._named_by}: {problem}"])


def write_private_atomic(path: Path, content: bytes, *, durable: bool = True) -> None:
    """
    Replace a file of mode 0600 atomically: a reader gets the old or the new content. The directory is not checked.

    Two writers of one name must take turns.

    Args:
        path: The file.
        content: The new content.
        durable: Whether it must survive a power cut, which costs two syncs of the disk.

    Raises:
        OSError: It cannot be written; the old file is as it was.
    """
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        _replace(directory, path.name, content, durable=durable)
    finally:
        os.close(directory)


def _replace(directory: int, name: str, content: bytes, *, durable: bool) -> None:
    draft = f".{name}.new"
    with contextlib.suppress(FileNotFoundError):
        # Left behind by a crash.
        os.unlink(draft, dir_fd=directory)
    try:
        _write_new(directory, draft, content, durable=durable)
        os.replace(draft, name, src_dir_fd=directory, dst_dir_fd=directory)
        if durable:
            _sync_directory(directory)
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(draft, dir_fd=directory)
        raise


def _write_new(directory: int, name: str, content: bytes, *, durable: bool) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(name, flags, 0o600, dir_fd=directory)
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(content)
        stream.flush()
        if durable:
            os.fsync(descriptor)


def others_can_write(directory: Path) -> bool:
    """
    Return whether another user could put files into a directory, or owns it.

    Anyone who can do that decides what is found there. The sticky bit does not help: it prevents removing entries, not adding them.
    """
    status = directory.stat()
    return bool(status.st_mode & 0o022) or status.st_uid not in {0, os.geteuid()}


def sync_directory(path: Path) -> None:
    """Make a rename or a removal in a directory durable, if its file system supports that; raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        _sync_directory(descriptor)
    finally:
        os.close(descriptor)


def _sync_directory(descriptor: int) -> None:
    """Sync a directory: otherwise a power cut may undo a rename."""
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _CANNOT_SYNC:
            raise
