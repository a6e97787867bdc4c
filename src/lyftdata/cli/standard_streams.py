"""
Makes standard output and error usable for a command: present, and with failed writes reported.

A key or a password that was created but could not be printed is lost, so a failed write to standard output must be distinguished
from every other error of the operating system.
"""

import errno
import io
import os
import sys
from typing import Any

_STANDARD_DESCRIPTORS = (0, 1, 2)


class OutputError(OSError):
    """A write to standard output failed, for example because the disk is full. If the reader is gone, it is a BrokenPipeError instead."""


def report_output_errors() -> None:
    """Have every failed write to standard output raise OutputError."""
    stream = sys.stdout
    if not isinstance(stream, io.TextIOWrapper):
        return
    stream.flush()
    sys.stdout = io.TextIOWrapper(
        io.BufferedWriter(_Output(stream.fileno(), "wb", closefd=False)),
        encoding=stream.encoding,
        errors=stream.errors,
        line_buffering=stream.line_buffering,
    )


def discard_output() -> None:
    """Discard buffered and all further output: otherwise the interpreter would report the error again at exit."""
    sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115, PTH123 - it stays open to the end


def missing_streams() -> list[str]:
    """Return which of standard output and standard error this process was started without."""
    streams = (("standard output", sys.stdout), ("standard error", sys.stderr))
    return [name for name, stream in streams if stream is None]


def fill_missing_streams() -> None:
    """
    Open /dev/null for each standard stream that was closed.

    Otherwise the next file or socket that is opened gets its descriptor, and the output of a child process ends up in there.
    """
    for descriptor in _STANDARD_DESCRIPTORS:
        try:
            os.fstat(descriptor)
        except OSError as error:
            if error.errno != errno.EBADF:
                raise
            # The lowest free descriptor is this one, since those below it are open.
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
    sys.stdout = sys.stdout or _null_stream()
    sys.stderr = sys.stderr or _null_stream()


def _null_stream() -> io.TextIOWrapper:
    return open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123 - it stays open to the end


class _Output(io.FileIO):
    def write(self, data: Any, /) -> int:
        """Write like the base class, but raise OutputError for an error."""
        try:
            return super().write(data)
        except BrokenPipeError:
            raise
        except OSError as error:
            raise OutputError(error.errno, error.strerror) from error
