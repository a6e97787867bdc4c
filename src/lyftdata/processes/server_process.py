"""One of a Server's processes, as the supervisor sees it: whether it runs and is ready, and when it is started again."""

import os
import signal
import socket
from collections.abc import Callable

from lyftdata.core.backoff import Backoff
from lyftdata.hardening import die_with_parent
from lyftdata.processes.channel import Channel
from lyftdata.processes.link import SupervisorLink
from lyftdata.processes.messages import State, ToProcess, ToSupervisor

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)
# The first try is almost at once: while it is away the others answer for it.
_FIRST_TRY_S = 0.2
_MAX_WAIT_S = 30.0
# One that has run for so long did not fail because of how it was started.
_SETTLED_AFTER_S = 60.0


class ServerProcess:
    """
    One place among a Server's processes, and whichever process has it now.

    Args:
        number: From 1.
        random: Returns a number from 0 up to 1.
        watchdog_s: Every how many seconds it must say that its event loop runs; 0 where it need not.
    """

    def __init__(self, number: int, *, random: Callable[[], float], watchdog_s: float) -> None:
        self.number = number
        self._watchdog_s = watchdog_s
        self._backoff = Backoff(random=random, first_s=_FIRST_TRY_S, max_s=_MAX_WAIT_S)
        self.pid: int | None = None
        self.channel: Channel[ToSupervisor] | None = None
        self.server_id: str | None = None
        """ID of its Server; None until it is ready."""
        self.status = ""
        self.start_at_s: float | None = None
        """When it is to be started, by the supervisor's clock; None while it runs, or is not wanted."""
        self._ready_at_s = 0.0
        self._heard_at_s = 0.0
        self._is_told_to_die = False

    @property
    def is_ready(self) -> bool:
        """Return whether it serves."""
        return self.server_id is not None

    def fork(self, now_s: float) -> SupervisorLink | None:
        """
        Start a process; returns None in the supervisor, and in the new process its line to the supervisor.

        In the new process no handler of the supervisor's signals is left: SIGTERM ends it until it serves, and the others
        are ignored.
        """
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        supervisor = os.getpid()
        # A signal that arrived in between would be taken by the supervisor's handler, and counted a second time.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        pid = os.fork()
        if pid == 0:
            ours.close()
            _be_a_child(supervisor)
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            channel: Channel[ToProcess] = Channel(theirs, ToProcess)
            return SupervisorLink(number=self.number, channel=channel, watchdog_s=self._watchdog_s)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        theirs.close()
        self.pid, self.channel, self.start_at_s = pid, Channel(ours, ToSupervisor), None
        self.server_id, self.status, self._is_told_to_die = None, "", False
        self._heard_at_s = now_s
        return None

    def take_state(self, state: State, now_s: float) -> None:
        """Note what it says about itself."""
        self._heard_at_s = now_s
        if state.assignments.get("READY") == "1":
            self.server_id = state.assignments.get("X_SERVER", "")
            self._ready_at_s = now_s
        self.status = state.assignments.get("STATUS", self.status)

    def is_hung(self, now_s: float) -> bool:
        """Return whether it serves and has not said for too long that its event loop runs; once for each process."""
        if not self._watchdog_s or not self.is_ready or self._is_told_to_die:
            return False
        return now_s - self._heard_at_s > self._watchdog_s

    def kill(self) -> None:
        """End it at once."""
        self._is_told_to_die = True
        self.signal(signal.SIGKILL)

    def signal(self, number: int) -> None:
        """Send it a signal, if it runs."""
        if self.pid is not None:
            os.kill(self.pid, number)

    def reap(self) -> int | None:
        """Return the exit code if it has ended, or minus the signal that ended it; None while it runs."""
        if self.pid is None:
            return None
        pid, status = os.waitpid(self.pid, os.WNOHANG)
        if pid == 0:
            return None
        self.pid = self.server_id = None
        if self.channel is not None:
            self.channel.close()
            self.channel = None
        return os.waitstatus_to_exitcode(status)

    def start_later(self, now_s: float) -> float:
        """Have it started again after a while, which grows with each failure; return the seconds."""
        if self._ready_at_s and now_s - self._ready_at_s >= _SETTLED_AFTER_S:
            self._backoff.reset()
        self._ready_at_s = 0.0
        wait_s = self._backoff.next_s()
        self.start_at_s = now_s + wait_s
        return wait_s


def _be_a_child(supervisor: int) -> None:
    """Leave nothing of the supervisor in force that would act in a process that it has forked."""
    # However the supervisor ends, no process is left that has the address and that no one can stop.
    die_with_parent(supervisor, signal.SIGKILL)
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
