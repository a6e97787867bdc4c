"""
Reaps child processes: the COMMAND's own process, and every orphan that it leaves behind.

    with Reaper() as reaper:
        ended = reaper.watch(pid)      # a future: how the process ended
        code = await ended
        reaper.left_behind()           # what it started and did not wait for
        reaper.release(pid)            # now the number may be given to another process

As PID 1 of a container, and on Linux anywhere else too, orphans become children of this process. They are reaped
as they end. The status of a watched process is only read (WNOWAIT): until it is released, its process ID and its
process group cannot be reused, and a signal to the group reaches no other process.
"""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from lyftdata.hardening import adopt_orphans

_THREADS = Path("/proc/self/task")


class Reaper:
    """Handles SIGCHLD for this process; use one at a time, in the main thread of a running loop."""

    def __init__(self) -> None:
        self._watched: dict[int, asyncio.Future[int]] = {}
        self._on_stop: dict[int, Callable[[int], None]] = {}
        self._changed = asyncio.Event()
        # A shell that started something and then became this program (`exec`) has left children that are not part of the
        # COMMAND: they are reaped like any other, but never ended from here.
        self._older = children()

    def __enter__(self) -> Self:
        """Become the child subreaper: orphans of descendants become children of this process."""
        adopt_orphans(adopt=True)
        asyncio.get_running_loop().add_signal_handler(signal.SIGCHLD, self._collect)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop reaping."""
        asyncio.get_running_loop().remove_signal_handler(signal.SIGCHLD)
        adopt_orphans(adopt=False)

    def watch(self, pid: int, *, on_stop: Callable[[int], None] = lambda _: None) -> asyncio.Future[int]:
        """
        Return a future for a child's exit code, or the negative number of the signal that ended it.

        Args:
            pid: A child of this process; stays reserved until `release`.
            on_stop: Called with the signal when the child is stopped (not ended), as by Ctrl-Z.
        """
        loop = asyncio.get_running_loop()
        self._watched[pid] = ended = loop.create_future()
        self._on_stop[pid] = on_stop
        # It may have ended already, and its SIGCHLD may have been handled.
        loop.call_soon(self._collect)
        return ended

    def release(self, pid: int) -> None:
        """Reap a watched process that has ended; one that still runs is no longer watched."""
        self._on_stop.pop(pid, None)
        if self._watched.pop(pid, None) is not None:
            _reap(pid)

    def left_behind(self) -> list[int]:
        """Return the children that are neither watched nor older than this object: the COMMAND's orphans."""
        self._collect()
        return sorted(children() - self._watched.keys() - self._older)

    async def next_change(self) -> None:
        """Wait until a child has ended; one caller at a time."""
        self._changed.clear()
        await self._changed.wait()

    def _collect(self) -> None:
        for pid, ended in list(self._watched.items()):
            self._look_at(pid, ended)
        for pid in children() - self._watched.keys():
            if _reap(pid):
                self._older -= {pid}
        self._changed.set()

    def _look_at(self, pid: int, ended: asyncio.Future[int]) -> None:
        code = None if ended.done() else _exit_code(pid)
        if code is not None:
            ended.set_result(code)
        elif not ended.done() and (number := _stopped_by(pid)):
            self._on_stop[pid](number)


def children() -> frozenset[int]:
    """Return the process IDs of this process's children; empty where the system does not report them."""
    found: set[int] = set()
    # A child is listed under the thread that started it, an orphan under any thread.
    with contextlib.suppress(OSError):
        for thread in _THREADS.iterdir():
            with contextlib.suppress(OSError):
                found.update(map(int, (thread / "children").read_text(encoding="ascii").split()))
    return frozenset(found)


def _exit_code(pid: int) -> int | None:
    """Return a child's exit code, or None while it runs; on Linux this does not reap it."""
    if sys.platform != "linux":
        with contextlib.suppress(ChildProcessError):
            done, status = os.waitpid(pid, os.WNOHANG)
            return os.waitstatus_to_exitcode(status) if done else None
        return 0
    with contextlib.suppress(ChildProcessError):
        found = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        if found is None:
            return None
        return found.si_status if found.si_code == os.CLD_EXITED else -found.si_status
    return 0


def _stopped_by(pid: int) -> int | None:
    """Return the signal that stopped a child since the last call, or None."""
    if sys.platform == "linux":
        with contextlib.suppress(ChildProcessError):
            found = os.waitid(os.P_PID, pid, os.WSTOPPED | os.WNOHANG)
            return found.si_status if found is not None else None
    return None


def _reap(pid: int) -> bool:
    with contextlib.suppress(ChildProcessError):
        return os.waitpid(pid, os.WNOHANG)[0] != 0
    return False
