"""Programs on their own terminal, where they could prompt a user."""

import os
import pty
import select
import termios
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.processes import until


def run_on_a_terminal(
    command: Sequence[str], environ: Mapping[str, str], *, within_s: float = 240.0, columns: int = 0
) -> tuple[int, str]:
    """
    Run a program on a controlling terminal with no user who types.

    Args:
        command: The program and its arguments.
        environ: Its environment.
        within_s: How long it may take.
        columns: The width of the terminal; unknown if 0.

    Returns:
        Its exit code and everything that it wrote to the terminal.

    Raises:
        AssertionError: It has not ended; with what it has written, such as a prompt.
    """
    child, terminal = pty.fork()
    if child == 0:
        if columns:
            termios.tcsetwinsize(0, (24, columns))
        os.execvpe(command[0], list(command), dict(environ))
    written = b""
    deadline = time.monotonic() + within_s
    try:
        while select.select([terminal], [], [], max(0.0, deadline - time.monotonic()))[0]:
            try:
                written += os.read(terminal, 65_536)
            except OSError:
                # On Linux, reading a terminal fails like this once the last program has closed it.
                return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), written.decode()
        os.kill(child, 9)
        os.waitpid(child, 0)
        message = f"{command} did not end; on its terminal:\n{written.decode()}"
        raise AssertionError(message)
    finally:
        os.close(terminal)


class Typist:
    """
    A user at the terminal of a program, who reads what it writes and types.

    Attributes:
        written: Everything on the terminal so far, including echoed input; carriage returns become line feeds.
    """

    def __init__(self, command: Sequence[str], environ: Mapping[str, str], *, cwd: Path) -> None:
        self.written = ""
        self._read_to = 0
        self._child, self._terminal = pty.fork()
        if self._child == 0:
            os.chdir(cwd)
            os.execvpe(command[0], list(command), dict(environ))

    def enter(self, text: str) -> None:
        """Type some text."""
        os.write(self._terminal, text.encode())

    def wait_for(self, text: str, *, within_s: float = 240.0) -> None:
        """Wait until a text is written after the one that was last waited for."""
        self._read_until(lambda: text in self.written[self._read_to :], text, within_s)
        self._read_to = self.written.index(text, self._read_to) + len(text)

    def wait_until_hidden(self, *, within_s: float = 240.0) -> None:
        """Wait until the terminal does not echo input."""
        until(lambda: not termios.tcgetattr(self._terminal)[3] & termios.ECHO, "no echo", within_s=within_s)

    def wait_for_end(self, *, within_s: float = 240.0) -> None:
        """Wait until the program has closed the terminal."""
        self._read_until(lambda: False, "the end", within_s)

    def _read_until(self, done: Callable[[], bool], what: str, within_s: float) -> None:
        deadline = time.monotonic() + within_s
        while not done():
            assert select.select([self._terminal], [], [], max(0.0, deadline - time.monotonic()))[0], (
                f"not on the terminal: {what}\n{self.written}"
            )
            try:
                self.written += os.read(self._terminal, 65_536).decode(errors="replace").replace("\r", "\n")
            except OSError:
                assert what == "the end", f"ended before: {what}\n{self.written}"
                return

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if kind is not None:
            os.kill(self._child, 9)
        os.waitpid(self._child, 0)
        os.close(self._terminal)
