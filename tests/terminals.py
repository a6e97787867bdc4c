"""Programs on a terminal of their own, where they could ask somebody something."""

import os
import pty
import select
import time
from collections.abc import Mapping, Sequence


def run_on_a_terminal(
    command: Sequence[str], environ: Mapping[str, str], *, within_s: float = 60.0
) -> tuple[int, str]:
    """
    Run a program whose controlling terminal nobody types at.

    Returns:
        Its exit code and all that it has written to the terminal.

    Raises:
        AssertionError: It has not ended; with what it has written, such as a question.
    """
    child, terminal = pty.fork()
    if child == 0:
        os.execvpe(command[0], list(command), dict(environ))
    written = b""
    deadline = time.monotonic() + within_s
    try:
        while select.select([terminal], [], [], max(0.0, deadline - time.monotonic()))[0]:
            try:
                written += os.read(terminal, 65_536)
            except OSError:
                # Linux has a terminal end like that, once the last program has left it.
                return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), written.decode()
        os.kill(child, 9)
        os.waitpid(child, 0)
        message = f"{command} did not end; on its terminal:\n{written.decode()}"
        raise AssertionError(message)
    finally:
        os.close(terminal)
