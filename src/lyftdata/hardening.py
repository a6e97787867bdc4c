"""Restricts this process by `prctl` on Linux; does nothing elsewhere."""

import contextlib
import ctypes
import os
import sys

# linux/prctl.h
_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4
_PR_SET_CHILD_SUBREAPER = 36
# Found before anything is forked: a child that has not become its own program yet should look nothing up.
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None


def hide_from_other_programs() -> None:
    """
    Let no program of the same user read this process: its memory, or `/proc/PID/environ` with its secrets.

    Server, agent and command line do it first of all. A Worker's COMMAND runs as the agent's user; other services may
    run as the Server's. What this process starts is not affected. On Linux a process that may not be dumped
    belongs to root in `/proc`; elsewhere, and where the call fails, nothing happens.
    """
    _prctl(_PR_SET_DUMPABLE, 0)


def adopt_orphans(*, adopt: bool) -> None:
    """Say whether descendants that lost their parent become children of this process, or of PID 1."""
    _prctl(_PR_SET_CHILD_SUBREAPER, int(adopt))


def _prctl(option: int, value: int) -> None:
    if _LIBC is not None:
        with contextlib.suppress(OSError, AttributeError):
            _LIBC.prctl(option, value, 0, 0, 0)


def die_with_parent(parent_pid: int, number: int) -> None:
    """
    Have the system send this process a signal when its parent ends, however that ends (Linux; elsewhere nothing).

    To be called in a child before it becomes another program. It reaches that process, not what it starts in turn.
    """
    _prctl(_PR_SET_PDEATHSIG, number)
    if sys.platform == "linux" and os.getppid() != parent_pid:
        # It ended before the system was asked.
        os.kill(os.getpid(), number)
