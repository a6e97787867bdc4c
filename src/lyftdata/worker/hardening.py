"""Keeping other programs of the same user out of the agent's memory and its start-up environment."""

import contextlib
import ctypes
import sys

_PR_SET_DUMPABLE = 4  # linux/prctl.h


def hide_from_other_programs() -> None:
    """
    Let no program of the same user read this process: its memory, or `/proc/PID/environ` with its secrets.

    The COMMAND runs as the same user, and its parent is this process. On Linux a process that may not be dumped
    belongs to root in `/proc`; elsewhere, and where the call fails, nothing happens.
    """
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
