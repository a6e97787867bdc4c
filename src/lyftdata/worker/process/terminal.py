"""
Lends the agent's terminal to the COMMAND while it runs, as a shell does.

The COMMAND has its own process group, and a terminal has one foreground group at a time: without this, Ctrl-C would not reach the
COMMAND, and it would be stopped when it reads (SIGTTIN).
"""

import contextlib
import os
import signal
import sys
import termios
from collections.abc import Iterator
from typing import Any


class Terminal:
    """
    The controlling terminal of this process, as returned by `find`.

    Args:
        descriptor: The terminal, open for reading and writing.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._given = False
        self._modes: list[Any] = []

    @classmethod
    def find(cls) -> "Terminal | None":
        """Return the controlling terminal; None if there is none, as under systemd or in a container without `-t`."""
        try:
            return cls(os.open("/dev/tty", os.O_RDWR | os.O_CLOEXEC | os.O_NOCTTY))
        except OSError:
            return None

    @property
    def is_given(self) -> bool:
        """Return whether the terminal was given to another process group."""
        return self._given

    def give_foreground_to(self, group: int) -> bool:
        """Make a process group the terminal's foreground group, if our group is; return whether it was."""
        with contextlib.suppress(OSError, termios.error):
            if os.tcgetpgrp(self._descriptor) == os.getpgrp():
                self._modes = termios.tcgetattr(self._descriptor)
                self._set_foreground_group(group)
                self._given = True
                return True
        return False

    def take_foreground_back(self, *, restore: bool = False) -> None:
        """
        Make our process group the foreground group again, if the terminal was given to another one.

        Args:
            restore: Restore the terminal's modes too, after a program that was killed and could not do so itself.
        """
        if not self._given:
            return
        self._given = False
        with contextlib.suppress(OSError, termios.error):
            self._set_foreground_group(os.getpgrp())
            if restore:
                termios.tcsetattr(self._descriptor, termios.TCSADRAIN, self._modes)

    def close(self) -> None:
        """Close it."""
        os.close(self._descriptor)

    def _set_foreground_group(self, group: int) -> None:
        with _may_write():
            os.tcsetpgrp(self._descriptor, group)


def is_interactive() -> bool:
    """
    Return whether people type to the COMMAND and read its output on the terminal.

    In a pipeline (`… -- ./press | less`) the other programs keep the terminal until the COMMAND itself needs it.
    """
    return all(stream is not None and stream.isatty() for stream in (sys.__stdin__, sys.__stdout__))


@contextlib.contextmanager
def _may_write() -> Iterator[None]:
    """Block SIGTTOU: otherwise a background process group is stopped when it changes the terminal."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTTOU})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
