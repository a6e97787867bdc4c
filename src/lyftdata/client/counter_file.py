"""
Keeps the signature counter in the Worker's directory, next to its identity key (`core.signature_counter`).

    lock --> read --> write the next number in place --> sync --> unlock --> sign --> send

Every process that signs with the key takes its number here: the agent, `lyftdata token`, the Python client. A crash after the
write loses a number, which does not matter; no number is given twice.

The file has a fixed size and two slots with a checksum each, which are written in turn: a power cut during a write leaves the
other slot intact. Unlike other files it is not replaced by a new one: that would fail on a full disk, and an enrolled Worker must
keep working without free space.
"""

import contextlib
import errno
import fcntl
import os
import socket
import stat
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from lyftdata.core.signature_counter import SignatureNumber, host_label
from lyftdata.core.strategy import COUNTER_FILE
from lyftdata.core.structs import prepare_structs

_SLOT_BYTES = 128
_CHECKSUM_BYTES = 8
# Far more than another copy can have signed since, so that this one is ahead of it if an operator lets it continue.
_STEP_AFTER_REFUSAL = 2**20
_TRY_LOCK_EVERY_S = 0.005
_LOCK_WITHIN_S = 2.0
_CANNOT_SYNC = {errno.EINVAL, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS}
_sync = getattr(os, "fdatasync", os.fsync)


class _Kept(msgspec.Struct, frozen=True, omit_defaults=True):
    number: int = 0
    at_ms: int = 0
    refused_as: str = ""


prepare_structs(_Kept)


class CounterFile:
    """
    The counter of one identity; any number of processes and threads may use it at once.

    Args:
        directory: The Worker's directory, which holds the identity key.
        name: The name of the file. Each identity of a directory has its own: a program that still uses an earlier identity must not
            advance this counter.
        on_problem: Called with the problem when the file cannot be written; not again until a write has succeeded.
        now_ms: Milliseconds since 1970.
    """

    def __init__(
        self,
        directory: Path,
        *,
        name: str = COUNTER_FILE,
        on_problem: Callable[[str], object] = lambda _problem: None,
        now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self._path = directory / name
        self._on_problem = on_problem
        self._now_ms = now_ms
        self._problem = ""
        self._has_signed_as_copy = False

    def take_number(self) -> SignatureNumber | None:
        """
        Return the next number; it is on disk before this returns.

        If the file cannot be written, the last number is returned again, marked as repeated. Returns None if there is no number: the
        identity was never used with a counter.
        """
        kept, is_saved = self._advance(lambda kept: self._next(kept, step=1))
        if kept is None:
            return None
        self._has_signed_as_copy |= bool(kept.refused_as)
        return SignatureNumber(
            number=kept.number,
            at_ms=kept.at_ms,
            is_repeated=not is_saved,
            refused_as=kept.refused_as,
            host=host_label(socket.gethostname()),
        )

    def note_refused(self, reference: str) -> None:
        """Record in the directory that the Server refused it as a copy: every later signature carries the reference."""
        kept = self._read_only()
        if self._has_signed_as_copy and kept is not None and not kept.refused_as:
            # An operator has let it continue, and another process of this host was accepted while this refusal was in transit. If it is
            # still a copy, the next signature is refused too.
            self._has_signed_as_copy = False
            return
        self._advance(lambda kept: kept if kept.refused_as else self._refused(kept, reference))

    def note_accepted(self) -> None:
        """Record that the Server has issued a token: this directory is not, or no longer, refused as a copy."""
        kept = self._read_only()
        if kept is not None and kept.refused_as:
            self._advance(lambda kept: msgspec.structs.replace(self._next(kept, step=1), refused_as=""))

    def _next(self, kept: _Kept, *, step: int) -> _Kept:
        # Never before the last one: a clock that was set back must not make this directory look like a copy.
        at_ms = max(self._now_ms(), kept.at_ms + 1)
        return msgspec.structs.replace(kept, number=kept.number + step, at_ms=at_ms)

    def _refused(self, kept: _Kept, reference: str) -> _Kept:
        return msgspec.structs.replace(self._next(kept, step=_STEP_AFTER_REFUSAL), refused_as=reference)

    def _advance(self, change: Callable[[_Kept], _Kept]) -> tuple[_Kept | None, bool]:
        """Return the content of the file, and whether the change was saved."""
        try:
            with self._locked() as descriptor:
                kept = _read(descriptor)
                changed = change(kept)
                if changed != kept:
                    _write(descriptor, changed)
        except OSError as error:
            self._report(error.strerror or str(error))
            return self._read_only(), False
        self._problem = ""
        return changed, True

    def _read_only(self) -> _Kept | None:
        """Return the content of the file; None if it is empty, or cannot be read."""
        try:
            descriptor = os.open(self._path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:
            return None
        try:
            kept = _read(descriptor)
        except OSError:
            return None
        finally:
            os.close(descriptor)
        return kept if kept.number else None

    def _report(self, problem: str) -> None:
        if problem != self._problem:
            self._problem = problem
            self._on_problem(f"{self._path} cannot be written: {problem}.")

    @contextlib.contextmanager
    def _locked(self) -> Iterator[int]:
        descriptor = _open(self._path)
        try:
            _lock(descriptor)
            if os.fstat(descriptor).st_size == 0:
                _settle_new_file(self._path.parent, descriptor)
            yield descriptor
        finally:
            os.close(descriptor)


def _open(path: Path) -> int:
    """Open the file, creating it if there is none; raises OSError, also if others could write to it."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode) or status.st_mode & 0o077:
        os.close(descriptor)
        raise PermissionError(errno.EPERM, "it is not a regular file of mode 0600")
    return descriptor


def _settle_new_file(path: Path, descriptor: int) -> None:
    """Make a new file durable, and give it to the owner of its directory: root must not lock the Worker's agent out."""
    directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if os.geteuid() == 0:
            owner = os.fstat(directory)
            os.fchown(descriptor, owner.st_uid, owner.st_gid)
        # Both slots at once: later writes need no room.
        _write_all(descriptor, bytes(2 * _SLOT_BYTES), 0)
        _sync_if_possible(directory)
    finally:
        os.close(directory)


def _lock(descriptor: int) -> None:
    """
    Wait for the lock; other processes hold it only for a moment.

    Raises:
        TimeoutError: A process was stopped while it holds the lock.
        OSError: The file system has no locks: two processes could then take the same number, and look like copies.
    """
    ends_s = time.monotonic() + _LOCK_WITHIN_S
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= ends_s:
                raise TimeoutError(errno.ETIMEDOUT, "another process holds its lock") from None
            time.sleep(_TRY_LOCK_EVERY_S)
        else:
            return


def _read(descriptor: int) -> _Kept:
    """Return the later of the two slots; a slot that a power cut has damaged does not count."""
    raw = os.pread(descriptor, 2 * _SLOT_BYTES, 0)
    slots = (_decode(raw[:_SLOT_BYTES]), _decode(raw[_SLOT_BYTES:]))
    return max((slot for slot in slots if slot is not None), key=_order, default=_Kept())


def _write(descriptor: int, kept: _Kept) -> None:
    raw = os.pread(descriptor, 2 * _SLOT_BYTES, 0)
    first, second = _decode(raw[:_SLOT_BYTES]), _decode(raw[_SLOT_BYTES:])
    into_second = first is not None and (second is None or _order(second) < _order(first))
    _write_all(descriptor, _encode(kept), _SLOT_BYTES if into_second else 0)
    _sync(descriptor)


def _order(kept: _Kept) -> tuple[int, int]:
    return kept.number, kept.at_ms


def _write_all(descriptor: int, content: bytes, offset: int) -> None:
    if os.pwrite(descriptor, content, offset) != len(content):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _sync_if_possible(directory: int) -> None:
    try:
        os.fsync(directory)
    except OSError as error:
        if error.errno not in _CANNOT_SYNC:
            raise


def _encode(kept: _Kept) -> bytes:
    text = msgspec.json.encode(kept).ljust(_SLOT_BYTES - _CHECKSUM_BYTES - 1)
    return text + f"{zlib.crc32(text):08x}\n".encode()


def _decode(slot: bytes) -> _Kept | None:
    text, checksum = slot[: -_CHECKSUM_BYTES - 1], slot[-_CHECKSUM_BYTES - 1 :]
    if len(slot) != _SLOT_BYTES or checksum != f"{zlib.crc32(text):08x}\n".encode():
        return None
    try:
        return msgspec.json.decode(text, type=_Kept)
    except msgspec.DecodeError:
        return None
