"""
Starts a Server's processes, keeps them running, and stops them.

    first       process 1 alone: it makes the tables, the first operator and the like, and what is wrong is said once
    starting    the others, at once; one that fails now ends the Server, with the same exit code
    ready       all have been ready, which systemd gets to know. One that ends is started again, at growing intervals; if none
                serves any more and the next one cannot start either, the Server ends with that one's exit code
    stopping    a signal has come: all drain at once, and none is started again. What is left after `stop_within_s` is killed

`run` returns twice, as `fork` does: an exit code in the supervisor, and a `SupervisorLink` in each process. So it may only be used
where the process has one thread.
"""

import contextlib
import os
import selectors
import signal
import socket
import time
from collections import deque
from collections.abc import Callable, Iterator

from lyftdata.core.log_events.server import (
    PROCESS_ENDED,
    PROCESS_HUNG,
    PROCESSES_READY,
    PROCESSES_STOPPING,
)
from lyftdata.log import emit, get_logger
from lyftdata.processes.channel import ChannelClosedError
from lyftdata.processes.link import SupervisorLink
from lyftdata.processes.messages import (
    Asked,
    GiveMetrics,
    GivenMetrics,
    Hurry,
    Metrics,
    State,
    Stop,
    ToSupervisor,
    WantMetrics,
)
from lyftdata.processes.server_process import SIGNALS, ServerProcess
from lyftdata.service_manager import Notifier

_log = get_logger(__name__)

_FAILED = 1
_MAX_KNOWN_IDS = 256
_STOP_SIGNALS = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGHUP})


class Supervisor:
    """
    The parent of a Server's processes.

    Args:
        count: How many there are to be.
        notifier: Speaks to systemd, for all of them.
        stop_within_s: After how many seconds a process that does not stop is killed.
        stop_listening: Closes the supervisor's own descriptor of the socket: once the processes have closed theirs, nothing may
            wait for an answer that will not come.
        random: Returns a number from 0 up to 1.
        monotonic: Seconds from some fixed moment.
    """

    def __init__(
        self,
        *,
        count: int,
        notifier: Notifier,
        stop_within_s: float,
        stop_listening: Callable[[], None],
        random: Callable[[], float],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._notifier = notifier
        self._stop_within_s = stop_within_s
        self._stop_listening = stop_listening
        self._monotonic = monotonic
        self._processes = [
            ServerProcess(number, random=random, watchdog_s=notifier.watchdog_s)
            for number in range(1, count + 1)
        ]
        self._have_all_been_ready = False
        self._exit_code: int | None = None
        self._kill_at_s: float | None = None
        self._said_status = ""
        self._ping_at_s = 0.0
        # Of those that have ended, too: the others take one that was killed for alive for some seconds.
        self._server_ids: deque[str] = deque(maxlen=_MAX_KNOWN_IDS)

    def run(self) -> SupervisorLink | int:
        """Run the processes until they have stopped; return the exit code, and in each process its link."""
        self._processes[0].start_at_s = self._monotonic()
        with _signals_received() as signals:
            while True:
                link = self._start_due()
                if link is not None:
                    return link
                if self._exit_code is not None and not any(each.pid for each in self._processes):
                    return self._exit_code
                self._wait(signals)

    def _start_due(self) -> SupervisorLink | None:
        now_s = self._monotonic()
        for process in self._processes:
            if process.start_at_s is not None and process.start_at_s <= now_s:
                try:
                    link = process.fork(now_s)
                except OSError as error:
                    # No more processes are allowed, or there is no memory for one.
                    self._failed(process, how=str(error), exit_code=_FAILED, pid=None, was_ready=False)
                    continue
                if link is not None:
                    self._close_channels_but(process)
                    return link
        return None

    def _close_channels_but(self, own: ServerProcess) -> None:
        """In a process: the lines of the others are the supervisor's."""
        for process in self._processes:
            if process is not own and process.channel is not None:
                process.channel.close()

    def _wait(self, signals: socket.socket) -> None:
        """Wait for what comes next: a signal, a message, or a time; and act on it."""
        # Not epoll: a forked process shares that with the supervisor.
        with selectors.PollSelector() as selector:
            selector.register(signals, selectors.EVENT_READ)
            for process in self._processes:
                if process.channel is not None:
                    unsent = selectors.EVENT_WRITE if process.channel.has_unsent() else 0
                    selector.register(process.channel, selectors.EVENT_READ | unsent, process)
            found = selector.select(self._next_in_s())
        numbers: list[int] = []
        for key, events in found:
            if key.data is None:
                numbers += signals.recv(1_000)
            else:
                self._read(key.data, events)
        if any(process.pid for process in self._processes):
            self._reap()
        for number in numbers:
            if number in _STOP_SIGNALS:
                self._stop()
        self._keep_time()

    def _next_in_s(self) -> float | None:
        times = [process.start_at_s for process in self._processes] + [self._kill_at_s]
        if self._notifier.watchdog_s:
            times.append(self._ping_at_s)
        known = [at_s for at_s in times if at_s is not None]
        return max(0.0, min(known) - self._monotonic()) if known else None

    def _keep_time(self) -> None:
        now_s = self._monotonic()
        if self._kill_at_s is not None and now_s >= self._kill_at_s:
            self._kill_at_s = None
            for process in self._processes:
                process.kill()
        if self._notifier.watchdog_s and now_s >= self._ping_at_s:
            self._ping_at_s = now_s + self._notifier.watchdog_s / 2
            self._notifier.notify(WATCHDOG="1")
            for process in self._processes:
                if process.is_hung(now_s):
                    emit(_log, PROCESS_HUNG, number=process.number, pid=process.pid)
                    process.kill()

    # --- what processes say ---------------------------------------------------------------------------------

    def _read(self, process: ServerProcess, events: int) -> None:
        channel = process.channel
        if channel is None:
            return
        if events & selectors.EVENT_WRITE:
            channel.flush()
        if not events & selectors.EVENT_READ:
            return
        try:
            messages = channel.receive()
        except ChannelClosedError:
            # It has ended, or is about to: SIGCHLD says so.
            channel.close()
            process.channel = None
            return
        for message in messages:
            self._take(process, message)

    def _take(self, process: ServerProcess, message: ToSupervisor) -> None:
        match message:
            case State():
                process.take_state(message, self._monotonic())
                if process.server_id and process.server_id not in self._server_ids:
                    self._server_ids.append(process.server_id)
                self._report()
            case WantMetrics(number):
                others = [each for each in self._processes if each is not process and each.is_ready]
                _send(process, Asked(number, tuple(each.number for each in others)))
                for each in others:
                    _send(each, GiveMetrics(process.number, number))
            case GivenMetrics(wanted_by, number, text):
                for each in self._processes:
                    if each.number == wanted_by:
                        _send(each, Metrics(number, process.number, text))

    def _report(self) -> None:
        """Start the others after the first; tell systemd when all are ready, and what they say from then on."""
        if self._exit_code is not None:
            return
        if not self._have_all_been_ready:
            self._start_rest()
            if not all(process.is_ready for process in self._processes):
                return
            self._have_all_been_ready = True
            emit(_log, PROCESSES_READY, processes=len(self._processes))
            self._notifier.notify(READY="1")
        status = self._status()
        if status != self._said_status:
            self._said_status = status
            self._notifier.notify(STATUS=status)

    def _start_rest(self) -> None:
        if self._processes[0].is_ready:
            for process in self._processes:
                if process.pid is None and process.start_at_s is None:
                    process.start_at_s = self._monotonic()

    def _status(self) -> str:
        ready = [process for process in self._processes if process.is_ready]
        texts = list(dict.fromkeys(process.status for process in ready))
        return f"{len(ready)} of {len(self._processes)} processes. {' '.join(texts)}"

    # --- ends -----------------------------------------------------------------------------------------------

    def _reap(self) -> None:
        for process in self._processes:
            pid, was_ready = process.pid, process.is_ready
            code = process.reap()
            if code is not None:
                self._ended(process, code, pid=pid, was_ready=was_ready)

    def _ended(self, process: ServerProcess, code: int, *, pid: int | None, was_ready: bool) -> None:
        if self._exit_code is not None:
            # Stopping: one that does not stop in order makes the whole stop a failure. One that did not serve yet got SIGTERM.
            if was_ready or code != -signal.SIGTERM:
                self._exit_code = self._exit_code or _as_exit_code(code)
            return
        self._failed(
            process, how=_describe(code), exit_code=_as_exit_code(code), pid=pid, was_ready=was_ready
        )

    def _failed(
        self, process: ServerProcess, *, how: str, exit_code: int, pid: int | None, was_ready: bool
    ) -> None:
        """Start a process again that has ended by itself, or end the Server if that would not help."""
        others_serve = any(each.is_ready for each in self._processes)
        again_in_s: float | None = None
        if self._have_all_been_ready and (was_ready or others_serve):
            again_in_s = round(process.start_later(self._monotonic()), 1)
        emit(_log, PROCESS_ENDED, number=process.number, pid=pid, how=how, again_in_s=again_in_s)
        if again_in_s is None:
            self._end_all(exit_code or _FAILED)
        else:
            self._report()

    def _stop(self) -> None:
        if self._exit_code is not None:
            for process in self._processes:
                _send(process, Hurry())
            return
        emit(_log, PROCESSES_STOPPING)
        self._notifier.notify(
            STOPPING="1", STATUS="Stopping.", EXTEND_TIMEOUT_USEC=str(round(self._stop_within_s * 1_000_000))
        )
        self._end_all(0)

    def _end_all(self, exit_code: int) -> None:
        """End with this exit code, once all processes have stopped; none is started again."""
        self._exit_code = exit_code
        self._kill_at_s = self._monotonic() + self._stop_within_s
        self._stop_listening()
        stopping = Stop(tuple(self._server_ids))
        for process in self._processes:
            process.start_at_s = None
            _send(process, stopping)
            if not process.is_ready:
                # It reads no message yet.
                process.signal(signal.SIGTERM)


def _send(process: ServerProcess, message: Stop | Hurry | GiveMetrics | Asked | Metrics) -> None:
    if process.channel is not None:
        process.channel.send(message)


def _as_exit_code(code: int) -> int:
    return code if code >= 0 else _FAILED


def _describe(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"


@contextlib.contextmanager
def _signals_received() -> Iterator[socket.socket]:
    """Give a socket on which the number of each signal arrives as a byte; in a forked process the end is harmless."""
    supervisor = os.getpid()
    reading, writing = socket.socketpair()
    reading.setblocking(False)
    writing.setblocking(False)
    before = {number: signal.signal(number, lambda *_: None) for number in SIGNALS}
    wakeup = signal.set_wakeup_fd(writing.fileno(), warn_on_full_buffer=False)
    try:
        yield reading
    finally:
        # A forked process has taken off what was the supervisor's, and must not get back what was before that.
        if os.getpid() == supervisor:
            signal.set_wakeup_fd(wakeup)
            for number, handler in before.items():
                signal.signal(number, handler)
        reading.close()
        writing.close()
