"""
Supervises the COMMAND: starts it when the Worker is admitted, stops it when the Worker is refused, and restarts it.

    supervisor = CommandSupervisor(launch, restart=RestartPolicy("never", chance=random.random), on_end=stop.set)
    supervisor.ensure(lambda: {"LYFTDATA_WORKER_ID": "press-01"})
    await supervisor.stop()       # on the Server's order; a later `ensure` starts it again

A run that ends by itself may be restarted after a delay, while the Worker is admitted.
"""

import asyncio
import os
import signal
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol

from lyftdata.core.log_events.worker import (
    COMMAND_ENDED,
    COMMAND_RESTARTING,
    COMMAND_START_FAILED,
    COMMAND_STOPPED,
)
from lyftdata.log import emit, get_logger
from lyftdata.worker.process.command import GRACE_S, SIGNAL_EXIT_BASE, CommandError, CommandProcess
from lyftdata.worker.process.restart import RestartPolicy
from lyftdata.worker.process.terminal import Terminal, is_interactive

_log = get_logger(__name__)


class Launch(Protocol):
    """Starts one run of the COMMAND; raises CommandError."""

    def __call__(self, *, identity: Mapping[str, str], on_stop: Callable[[int], None]) -> CommandProcess:
        """Start it."""
        ...


Identity = Callable[[], Mapping[str, str]]
"""Returns the variables that identify the Worker; called at each start, since the Worker may be renamed in between."""


class CommandSupervisor:
    """
    Keeps at most one run of the COMMAND going.

    Args:
        launch: Starts a run; None for a Worker that only stays connected.
        restart: Decides whether a run is restarted.
        stop_grace_s: Seconds from the stop signal to SIGKILL.
        on_end: Called when the COMMAND has ended by itself and is not restarted; not when it was stopped from here.
        terminal: The terminal to give to the COMMAND, if there is one.
        monotonic: Returns seconds on a clock that does not jump.
        sleep: Waits for a number of seconds.
    """

    def __init__(
        self,
        launch: Launch | None,
        *,
        restart: RestartPolicy,
        stop_grace_s: float = GRACE_S,
        on_end: Callable[[], None] = lambda: None,
        terminal: Terminal | None = None,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._launch = launch
        self._restart = restart
        self._stop_grace_s = stop_grace_s
        self._terminal = terminal
        self._monotonic = monotonic
        self._sleep = sleep
        self._child: CommandProcess | None = None
        self._runs: asyncio.Task[None] | None = None
        self._on_end = on_end
        self.exit_code: int | None = None
        """Exit code of the last run, as a shell would report it; None during a run, or before the first."""

    @property
    def has_command(self) -> bool:
        """Return whether there is a COMMAND to run."""
        return self._launch is not None

    def ensure(self, identity: Identity) -> None:
        """Start the COMMAND unless it runs or is about to; raises CommandError if it cannot be started."""
        if self._launch is None or self._runs is not None:
            return
        child = self._begin(self._launch, identity)
        self._runs = asyncio.create_task(self._supervise(self._launch, child, identity))
        self._runs.add_done_callback(self._over)

    def send_signal(self, number: int) -> bool:
        """Pass a signal on to the COMMAND's process group; return whether there is one."""
        if self._child is not None:
            self._child.send_signal(number)
        return self._child is not None

    async def stop(self, number: int = signal.SIGTERM) -> None:
        """End the COMMAND and all its processes, and cancel restarts; returns when they are gone."""
        runs, self._runs = self._runs, None
        if runs is not None:
            runs.cancel()
            await asyncio.wait({runs})
        if self._child is not None:
            await self._finish(self._child, number)
            emit(_log, COMMAND_STOPPED, signal=signal.Signals(number).name, exit_code=self.exit_code)

    def _over(self, runs: asyncio.Task[None]) -> None:
        if not runs.cancelled():
            self._on_end()

    # --- one run after the other ------------------------------------------------------------------------

    async def _supervise(self, launch: Launch, child: CommandProcess | None, identity: Identity) -> None:
        while True:
            started_s = self._monotonic()
            if child is not None:
                await child.wait()
                await self._finish(child, signal.SIGTERM)
            code = self.exit_code or 0
            delay_s = self._restart.delay_s(exit_code=code, ran_s=self._monotonic() - started_s)
            if delay_s is None:
                emit(_log, COMMAND_ENDED, exit_code=code)
                return
            emit(_log, COMMAND_RESTARTING, exit_code=code, wait_s=round(delay_s, 1))
            await self._sleep(delay_s)
            child = self._restart_command(launch, identity)

    def _begin(self, launch: Launch, identity: Identity) -> CommandProcess:
        self._child = child = launch(identity=identity(), on_stop=self._stopped)
        self.exit_code = None
        if self._lend_terminal(child, asked_for=False):
            # It may have used the terminal too early, and been stopped for that.
            child.send_signal(signal.SIGCONT)
        return child

    def _restart_command(self, launch: Launch, identity: Identity) -> CommandProcess | None:
        """Start the COMMAND again. If it cannot be started (such as during its upgrade), that counts as a failed run."""
        try:
            return self._begin(launch, identity)
        except CommandError as error:
            emit(_log, COMMAND_START_FAILED, reason=error.message)
            self.exit_code = error.exit_code
            return None

    async def _finish(self, child: CommandProcess, number: int) -> None:
        code = await child.stop(number, grace_s=self._stop_grace_s)
        self._child = None
        self.exit_code = code
        if self._terminal is not None:
            self._terminal.take_foreground_back(restore=code > SIGNAL_EXIT_BASE)

    # --- Ctrl-Z, fg, bg ---------------------------------------------------------------------------------

    def _stopped(self, number: int) -> None:
        """Behave like a shell job of which a process was stopped."""
        if self._terminal is None or number == signal.SIGSTOP:
            return
        wants_terminal = number in {signal.SIGTTIN, signal.SIGTTOU}
        if wants_terminal and self._child is not None and self._terminal.give_foreground_to(self._child.pid):
            self._child.send_signal(signal.SIGCONT)
        else:
            self.suspend(number)

    def suspend(self, number: int = signal.SIGTSTP) -> None:
        """
        Stop together with the COMMAND, so that the parent shell sees its job stopped; returns when the shell continues it.

        Where no shell could do that (PID 1, a service), the system ignores these signals, and the COMMAND keeps running.
        """
        self.send_signal(number)
        if self._terminal is not None:
            self._terminal.take_foreground_back()
        before = signal.signal(number, signal.SIG_DFL)
        os.killpg(os.getpgrp(), number)
        signal.signal(number, before)
        self.resume(wants_terminal=number != signal.SIGTSTP)

    def resume(self, *, wants_terminal: bool = False) -> None:
        """
        Continue the COMMAND, in the foreground if this process is.

        Args:
            wants_terminal: It was stopped for using a terminal from the background: it stays stopped until it can have the terminal.
        """
        if self._child is None:
            return
        if self._lend_terminal(self._child, asked_for=wants_terminal) or not wants_terminal:
            self._child.send_signal(signal.SIGCONT)

    def _lend_terminal(self, child: CommandProcess, *, asked_for: bool) -> bool:
        if self._terminal is None or not (asked_for or is_interactive()):
            return False
        return self._terminal.give_foreground_to(child.pid)
