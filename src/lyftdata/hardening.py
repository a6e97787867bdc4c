"""Restricts this process by `prctl` on Linux; does nothing elsewhere."""

import contextlib
import ctypes
import os
import sys

# linux/prctl.h
_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4
_PR_SET_CHILD_SUBREAPER = 36
# Looked up before anything is forked: a child should not load a library between fork and exec.
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None


def hide_from_other_programs() -> None:
    """
    Prevent other programs of the same user from reading this process's memory, or its secrets in `/proc/PID/environ`.

    Server, agent and command line call it first. A Worker's COMMAND runs as the agent's user; other services may run as the Server's
    user. Child processes are not affected. On Linux, a process that is not dumpable belongs to root in `/proc`; elsewhere, or if the
    call fails, nothing happens.
    """
    _prctl(_PR_SET_DUMPABLE, 0)


def adopt_orphans(*, adopt: bool) -> None:
    """Set whether orphaned descendants become children of this process (child subreaper) instead of PID 1."""
    _prctl(_PR_SET_CHILD_SUBREAPER, int(adopt))


def _prctl(option: int, value: int) -> None:
    if _LIBC is not None:
        with contextlib.suppress(OSError, AttributeError):
            _LIBC.prctl(option, value, 0, 0, 0)


def die_with_parent(parent_pid: int, number: int) -> None:
    """
    Have the system send this process a signal when its parent ends, for whatever reason (Linux only; does nothing elsewhere).

    Call it in a child between fork and exec. It affects that process, not its own children.
    """
    _prctl(_PR_SET_PDEATHSIG, number)
    if sys.platform == "linux" and os.getppid() != parent_pid:
        # The parent ended before the call.
        os.kill(os.getpid(), number)
