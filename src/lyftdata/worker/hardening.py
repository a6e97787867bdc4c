"""Keeping other programs of the same user out of the agent's memory and its start-up environment."""

import contextlib
import ctypes
import os
import sys

_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE = 1, 4  # linux/prctl.h


def hide_from_other_programs() -> None:
    """
    Let no program of the same user read this process: its memory, or `/proc/PID/environ` with its secrets.

    The COMMAND runs as the same user, and its parent is this process. On Linux a process that may not be dumped
    belongs to root in `/proc`; elsewhere, and where the call fails, nothing happens.
    """
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


def die_with_parent(parent_pid: int, number: int) -> None:
    """
    Have the system send this process a signal when its parent ends, however that ends (Linux; elsewhere nothing).

    To be called in a child before it becomes another program. It reaches that process, not what it starts in turn.
    """
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, number, 0, 0, 0)
        if os.getppid() != parent_pid:
            # It ended before the system was asked.
            os.kill(os.getpid(), number)
