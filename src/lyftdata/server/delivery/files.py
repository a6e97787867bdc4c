"""
Appends messages to a file, one JSON object per line.

The file is opened for each batch, so that it may be renamed at any time (logrotate without `copytruncate`), and is synced before the
batch counts as delivered. A line that a crash has truncated is terminated first, and the complete one follows.
"""

import asyncio
import os
import stat
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from lyftdata.core.errors import SettingsError
from lyftdata.private_files import PrivateDirectory
from lyftdata.server.delivery.messages import DeliveryError, Destination, Message, Outcome

_OTHERS = 0o077


class FileSender:
    """
    Appends messages to `NAME.jsonl` in a directory, readable by no other user.

    Args:
        directory: Created when first used.
        threads: Writing blocks.
    """

    def __init__(self, directory: Path, *, threads: ThreadPoolExecutor) -> None:
        self._directory = directory
        self._threads = threads

    async def send(self, destination: Destination, messages: Sequence[Message]) -> Outcome:
        """Append messages, all or none; see `Sender.send`."""
        loop = asyncio.get_running_loop()
        try:
            lines = b"".join(message.body + b"\n" for message in messages)
            await loop.run_in_executor(self._threads, self._append, f"{destination.name}.jsonl", lines)
        except DeliveryError as error:
            return Outcome(0, str(error))
        return Outcome(len(messages))

    def _append(self, name: str, lines: bytes) -> None:
        try:
            PrivateDirectory(self._directory, named_by="LYFTDATA_EVENTS_DIR", child="events").make()
            descriptor = os.open(
                self._directory / name,
                os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC,
                0o600,
            )
            try:
                _check(name, os.fstat(descriptor))
                _write(descriptor, lines)
            finally:
                os.close(descriptor)
        except SettingsError as error:
            raise DeliveryError(error.message) from error
        except OSError as error:
            raise DeliveryError(f"{name} cannot be written: {error.strerror}.") from error


def _check(name: str, found: os.stat_result) -> None:
    if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & _OTHERS:
        raise DeliveryError(f"{name} is not a regular file that only the Server's user can read (mode 0600).")


def _write(descriptor: int, lines: bytes) -> None:
    """Append lines and sync them; on failure what was written is truncated again, so that no line is duplicated."""
    size = os.fstat(descriptor).st_size
    if size and os.pread(descriptor, 1, size - 1) != b"\n":
        lines = b"\n" + lines
    try:
        left = memoryview(lines)
        while left:
            left = left[os.write(descriptor, left) :]
        os.fsync(descriptor)
    except OSError:
        os.ftruncate(descriptor, size)
        raise
