"""
The Worker's own directory, with its identity key and its identity.

Written so that `kill -9` at any moment leaves a directory from which the next start works:

    1. identity-key.pem   before anything is sent
    2. identity.json      after the Server has answered
    3. signature-counter  before each assertion (`client.counter_file`)

Killed between the first two, the next start enrolls again with the same key and is given the same ID. These two are
written to a temporary file in the same directory, synced and renamed, so that each is complete or absent. An identity whose entry
is gone is removed in the order 2, 1, 3: a start in between enrolls.

While the key is rotated there is a second one, rotated-identity-key.pem: written before anything is sent, and renamed to
identity-key.pem after the Server has kept it. Until then the current key is good, and from then on the new one.

A copy of an identity that enrolls as a new Worker is replaced. Until the Server has answered, the directory remains the copy; after
that the replacement is carried out, if necessary by the next start:

    1. next-identity.json     instead of which Worker, and under which name
    2. next-identity-key.pem  the new key, before anything is sent
    3. next-identity.json     with the new identity, after the Server has answered
    4. identity-key.pem       the new key; the copied one is another Worker's, and is not kept
    5. identity.json          the new identity, whose signatures are counted in a file of its own
    6. next-identity.json     removed
"""

import contextlib
import errno
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

import msgspec

from lyftdata.client.counter_file import CounterFile
from lyftdata.core.errors import InvalidInputError, LyftdataError, SettingsError
from lyftdata.core.identity_keys import IdentityKey, generate_identity_key
from lyftdata.core.log_events.worker import COUNTER_NOT_SAVED
from lyftdata.core.strategy import COUNTER_FILE, StoredIdentity
from lyftdata.core.structs import prepare_structs
from lyftdata.log import emit, get_logger
from lyftdata.private_files import PrivateDirectory
from lyftdata.user_paths import NO_HOME, is_visible

_log = get_logger(__name__)

_KEY_FILE = "identity-key.pem"
_ROTATED_KEY_FILE = "rotated-identity-key.pem"
_IDENTITY_FILE = "identity.json"
_NEXT_FILE = "next-identity.json"
_NEXT_KEY_FILE = "next-identity-key.pem"
_LOCK_FILE = "lock"


class NextIdentity(msgspec.Struct, frozen=True):
    """
    The planned replacement of a copied identity.

    `replaces` is the ID of the Worker whose identity is in the directory, `worker_name` the name under which the new Worker enrolls;
    `identity` is the new identity, once the Server has issued it.
    """

    replaces: str
    worker_name: str
    identity: StoredIdentity | None = None


prepare_structs(NextIdentity)


class StateError(LyftdataError):
    """The Worker's directory cannot be written: full, read-only, or gone. Nothing was sent or lost."""

    code = "state_directory_failed"


class StateDirectory:
    """
    A directory of mode 0700 that one Worker program at a time may use.

    Args:
        path: The directory (`LYFTDATA_JOBS_DIR`), created when it is first needed. None if it was not given and this user has no home
            directory: every use then raises SettingsError.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path

    @property
    def path(self) -> Path:
        """The directory; raises SettingsError if none was configured and there is no home directory."""
        if self._path is None:
            raise SettingsError([f"LYFTDATA_JOBS_DIR: {NO_HOME}."])
        return self._path

    @property
    def _files(self) -> PrivateDirectory:
        return PrivateDirectory(self.path, named_by="LYFTDATA_JOBS_DIR", child="worker")

    def is_visible(self) -> bool:
        """Return whether this user can tell if the path exists; False behind a closed directory, such as another user's home."""
        return self._path is not None and is_visible(self._path)

    def load_identity(self) -> StoredIdentity | None:
        """
        Return the identity that is stored here, or None.

        Raises:
            SettingsError: The directory is open to others, or its content cannot be read.
        """
        if not self._files.exists():
            return None
        raw = self._read(_IDENTITY_FILE)
        if raw is None:
            return None
        try:
            identity = msgspec.json.decode(raw, type=StoredIdentity)
        except msgspec.DecodeError as error:
            raise SettingsError([f"{self.path / _IDENTITY_FILE} is damaged. {self._reset_hint()}"]) from error
        if not (self.path / _KEY_FILE).exists():
            raise SettingsError([f"{self.path} holds an identity without its key. {self._reset_hint()}"])
        return identity

    def load_key(self) -> IdentityKey:
        """
        Return the identity key that is stored here.

        Raises:
            SettingsError: It is missing or damaged.
        """
        return self._load_key(_KEY_FILE)

    def _load_key(self, name: str) -> IdentityKey:
        raw = self._read(name)
        if raw is None:
            raise SettingsError([f"{self.path} holds no identity key. {self._reset_hint()}"])
        try:
            return IdentityKey.from_pem(raw)
        except InvalidInputError as error:
            raise SettingsError([f"{self.path / name} {error.message}. {self._reset_hint()}"]) from error

    def load_or_make_key(self) -> IdentityKey:
        """
        Return the identity key, creating one if there is none; it is on disk before this returns.

        Raises:
            StateError: It cannot be written.
            SettingsError: The stored key is damaged.
        """
        return self._load_or_make_key(_KEY_FILE)

    def _load_or_make_key(self, name: str) -> IdentityKey:
        if (self.path / name).exists():
            return self._load_key(name)
        key = generate_identity_key()
        self._write(name, key.to_pem())
        return key

    def load_or_make_rotated_key(self) -> IdentityKey:
        """
        Return the key that will replace the identity key; it is on disk before this returns.

        A key from an earlier attempt is returned again: the Server may have registered it although its answer did not arrive.

        Raises:
            StateError: It cannot be written, or the stored key cannot be read.
        """
        try:
            raw = self._files.read(_ROTATED_KEY_FILE)
            if raw is not None:
                return IdentityKey.from_pem(raw)
        except OSError as error:
            raise self._failed(error) from error
        except InvalidInputError:
            # Damaged by hand: nothing was signed with it.
            pass
        key = generate_identity_key()
        self._write(_ROTATED_KEY_FILE, key.to_pem())
        return key

    def adopt_rotated_key(self) -> None:
        """Replace the identity key by the rotated key, durably: the Server ends the old key at the first use of the new one."""
        try:
            self._files.rename(_ROTATED_KEY_FILE, _KEY_FILE)
        except OSError as error:
            raise self._failed(error) from error

    def counter(self, name: str = COUNTER_FILE) -> CounterFile:
        """Return the signature counter of an identity; `name` is its `counter_file`."""
        return CounterFile(
            self.path, name=name, on_problem=lambda problem: emit(_log, COUNTER_NOT_SAVED, problem=problem)
        )

    def save_identity(self, identity: StoredIdentity) -> None:
        """Store this Worker's identity; raises StateError if it cannot be written."""
        self._write(_IDENTITY_FILE, msgspec.json.format(msgspec.json.encode(identity)) + b"\n")

    def discard_identity(self, identity: StoredIdentity) -> None:
        """Remove the identity with its key, so that the next enrollment creates a new Worker; raises StateError if it cannot be removed."""
        try:
            for name in (_IDENTITY_FILE, _ROTATED_KEY_FILE, _KEY_FILE, identity.counter_file):
                self._files.remove(name)
        except OSError as error:
            raise self._failed(error) from error

    def load_next(self) -> NextIdentity | None:
        """Return the planned replacement of the identity, or None; raises SettingsError if it cannot be read."""
        raw = self._read(_NEXT_FILE) if self._files.exists() else None
        try:
            return None if raw is None else msgspec.json.decode(raw, type=NextIdentity)
        except msgspec.DecodeError as error:
            raise SettingsError([f"{self.path / _NEXT_FILE} is damaged. {self._reset_hint()}"]) from error

    def save_next(self, planned: NextIdentity) -> None:
        """Store the planned replacement of the identity; raises StateError if it cannot be written."""
        self._write(_NEXT_FILE, msgspec.json.format(msgspec.json.encode(planned)) + b"\n")

    def load_or_make_next_key(self) -> IdentityKey:
        """Return the key of the replacement, creating one if there is none; raises like `load_or_make_key`."""
        return self._load_or_make_key(_NEXT_KEY_FILE)

    def finish_replacement(self) -> None:
        """
        Replace the identity by the new one that the Server has issued, if there is one; called at each start, under the lock.

        Raises:
            StateError: It cannot be written; nothing is lost.
            SettingsError: The stored replacement cannot be read.
        """
        planned = self.load_next()
        if planned is None or planned.identity is None:
            return
        try:
            # It belongs to the identity that is replaced.
            self._files.remove(_ROTATED_KEY_FILE)
            if (self.path / _NEXT_KEY_FILE).exists():
                self._files.rename(_NEXT_KEY_FILE, _KEY_FILE)
            self.save_identity(planned.identity)
            self._files.remove(COUNTER_FILE)
            self._files.remove(_NEXT_FILE)
        except OSError as error:
            raise self._failed(error) from error

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """
        Create the directory if missing, and lock it against every other Worker program.

        Raises:
            SettingsError: Another program is using it, or it is open to others.
            StateError: It cannot be created, or is read-only and holds no identity yet.
        """
        try:
            self._files.make()
            descriptor = self._open_lock()
        except OSError as error:
            raise self._failed(error) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            raise SettingsError(
                [
                    f"Another Worker is using {self.path}. "
                    "Set LYFTDATA_JOBS_DIR to a directory of this Worker's own, or stop the other one."
                ]
            ) from None
        try:
            yield
        finally:
            os.close(descriptor)

    def _open_lock(self) -> int:
        """Open the lock file; also on a disk that has become read-only, since an enrolled Worker need not write anything."""
        try:
            return os.open(self.path / _LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            if error.errno != errno.EROFS:
                raise
        try:
            return os.open(self.path / _LOCK_FILE, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            # An image that was built elsewhere.
            return os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)

    def _read(self, name: str) -> bytes | None:
        try:
            return self._files.read(name)
        except OSError as error:
            raise SettingsError([f"{self.path / name} cannot be read: {error.strerror}."]) from error

    def _write(self, name: str, content: bytes) -> None:
        try:
            self._files.write(name, content)
        except OSError as error:
            raise self._failed(error) from error

    def _failed(self, error: OSError) -> StateError:
        return StateError(
            f"The Worker's directory {self.path} cannot be written: {error.strerror}.",
            hint="Make room or make it writable, or set LYFTDATA_JOBS_DIR to another directory.",
        )

    def _reset_hint(self) -> str:
        return f"Restore it from a backup, or remove {self.path} and let the Worker enroll again."
