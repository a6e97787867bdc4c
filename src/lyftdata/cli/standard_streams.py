"""
Makes standard output and error usable for a command: present, and with failed writes reported.

A key or a password that was made and could not be shown is lost, so a failed write to standard output must be distinguished
from every other error of the operating system.
"""

import errno
import io
import os
import sys
from typing import Any

_STANDARD_DESCRIPTORS = (0, 1, 2)


class OutputError(OSError):
    """Standard output took no more: a full disk, for example. A reader that has gone is a BrokenPipeError instead."""


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
    """Drop what is still buffered and all further output: the interpreter would report it again when it exits."""
    sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115, PTH123 - it stays open to the end


def missing_streams() -> list[str]:
    """Return which of standard output and standard error this process was started without."""
    streams = (("standard output", sys.stdout), ("standard error", sys.stderr))
    return [name for name, stream in streams if stream is None]


def fill_missing_streams() -> None:
    """
    Put /dev/null where a standard stream was closed.

    Otherwise the next file or socket that is opened takes its number, and what a child process prints lands in there.
    """
    for descriptor in _STANDARD_DESCRIPTORS:
        try:
            os.fstat(descriptor)
        except OSError as error:
            if error.errno != errno.EBADF:
                raise
            # The lowest free number is this one, since those below it are open.
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
    sys.stdout = sys.stdout or _null_stream()
    sys.stderr = sys.stderr or _null_stream()


def _null_stream() -> io.TextIOWrapper:
    return open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123 - it stays open to the end


class _Output(io.FileIO):
    def write(self, data: Any, /) -> int:
        """Write, as the base class does, and give an error a class of its own."""
        try:
            return super().write(data)
        except BrokenPipeError:
            raise
        except OSError as error:
            raise OutputError(error.errno, error.strerror) from error
