"""
Starts and stops the program that runs under the Worker's identity.

It runs in its own process group. On stop, the whole group gets SIGTERM and, after the grace period, SIGKILL; on Linux so do
its descendants in other groups and sessions. It inherits the agent's standard streams and umask, but neither the Worker's secrets
nor any other open file.
"""

import asyncio
import contextlib
import functools
import os
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePath
from typing import Final

from lyftdata.core.errors import LyftdataError
from lyftdata.core.log_events.worker import COMMAND_KILLED, PROCESSES_SURVIVED
from lyftdata.core.settings import PREFIX, SECRET_VARIABLES
from lyftdata.hardening import die_with_parent
from lyftdata.log import emit, get_logger
from lyftdata.worker.process.reaper import Reaper

_log = get_logger(__name__)

_SECRET_WORDS = ("KEY", "SECRET", "PASSWORD", "TOKEN", "CREDENTIAL")
# The directory of the identity key, and the agent's socket to systemd: the COMMAND must not use them.
_AGENTS_OWN = frozenset({"LYFTDATA_JOBS_DIR", "NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"})
# The directory for systemd's LoadCredential=. The agent's key is there too, if it was passed that way.
_CREDENTIALS = "CREDENTIALS_DIRECTORY"
GRACE_S = 10.0
# A process that SIGKILL does not end at once waits for a disk or a network.
_KILL_WITHIN_S = 5.0
# Shells report a program that a signal ended in this way; the parent process expects the same.
SIGNAL_EXIT_BASE = 128


NOT_FOUND, NOT_EXECUTABLE = 127, 126


class CommandError(LyftdataError):
    """
    The COMMAND cannot be started.

    `exit_code` is the one that a shell would use: 127 if there is no such program, 126 if it cannot be run.
    """

    code = "command_not_started"

    def __init__(self, message: str, *, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code: Final = exit_code


def check_command(command: Sequence[str], environ: Mapping[str, str]) -> None:
    """
    Raise CommandError unless the program exists, before this Worker is shown as connected.

    It is looked up in the same way as by `CommandProcess.start`. Faults that only an attempt shows (a program for another machine,
    a file system mounted without exec) are found then.

    Raises:
        CommandError: There is no such program, or it may not be run.
    """
    program = command[0]
    is_path = os.sep in program
    places = [Path(program)] if is_path else [Path(d, program) for d in os.get_exec_path(environ)]
    files = [place for place in places if place.is_file()]
    if any(os.access(place, os.X_OK) for place in files):
        return
    if files:
        raise CommandError(
            f"{program} cannot be started: {files[0]} is not executable.", exit_code=NOT_EXECUTABLE
        )
    if is_path and Path(program).is_dir():
        raise CommandError(f"{program} cannot be started: it is a directory.", exit_code=NOT_EXECUTABLE)
    where = "there is no such file" if is_path else "no such program is on the PATH"
    raise CommandError(f"{program} cannot be started: {where}.", exit_code=NOT_FOUND)


class CommandProcess:
    """One run of the COMMAND, from `start` to `stop`."""

    def __init__(
        self, process: subprocess.Popen[bytes], *, ended: asyncio.Future[int], reaper: Reaper
    ) -> None:
        self._process = process
        self._ended = ended
        self._reaper = reaper

    @classmethod
    def start(
        cls,
        command: Sequence[str],
        *,
        environ: Mapping[str, str],
        identity: Mapping[str, str],
        reaper: Reaper,
        umask: int = -1,
        on_stop: Callable[[int], None] = lambda _: None,
    ) -> "CommandProcess":
        """
        Start the COMMAND.

        Args:
            command: Program and arguments.
            environ: Environment to pass on; the secrets are removed from it.
            identity: Variables that identify the Worker.
            reaper: Reports how it ends, and reaps what it leaves behind.
            umask: The umask of the COMMAND; -1 for that of this process.
            on_stop: Called with the signal when the COMMAND is stopped, as by Ctrl-Z.

        Raises:
            CommandError: There is no such program, or it may not be run.
        """
        try:
            process = subprocess.Popen(  # noqa: S603 - the operator's own COMMAND, run as it was given
                command,
                env={**without_secrets(environ), **identity},
                process_group=0,
                umask=umask,
                # A killed agent cannot stop anything: the COMMAND must not keep running without it.
                preexec_fn=functools.partial(die_with_parent, os.getpid(), signal.SIGKILL),  # noqa: PLW1509
            )
        except (OSError, subprocess.SubprocessError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            exit_code = NOT_FOUND if isinstance(error, FileNotFoundError) else NOT_EXECUTABLE
            raise CommandError(f"{command[0]} cannot be started: {reason}.", exit_code=exit_code) from error
        return cls(process, ended=reaper.watch(process.pid, on_stop=on_stop), reaper=reaper)

    @property
    def pid(self) -> int:
        """Return the process ID, which is also the process group's ID."""
        return self._process.pid

    async def wait(self) -> int:
        """Wait until the process itself ends; return its exit code as a shell reports it (128+n for signal n)."""
        return _shell_exit_code(await asyncio.shield(self._ended))

    def send_signal(self, number: int) -> None:
        """Send a signal to the whole process group."""
        # PID reuse: the number cannot belong to another group, since the process is not reaped before `stop` returns.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)

    async def stop(self, number: int = signal.SIGTERM, *, grace_s: float = GRACE_S) -> int:
        """
        End everything that this run has started; return the exit code of the process itself.

        Call it for a run that ended by itself, too: processes that it left behind must not keep running without an identity.

        Args:
            number: The signal that asks the process group to end.
            grace_s: Seconds until the remaining processes are killed.
        """
        self.send_signal(number)
        # A stopped process (Ctrl-Z) would not receive it.
        self.send_signal(signal.SIGCONT)
        try:
            async with asyncio.timeout(grace_s):
                await self._wait_for_all()
        except TimeoutError:
            emit(_log, COMMAND_KILLED, grace_s=grace_s)
            await self._kill()
        # On systems that do not report the remaining processes, the group is still known.
        self.send_signal(signal.SIGKILL)
        return self._finish()

    async def _wait_for_all(self) -> None:
        """Wait until every process has ended; send SIGTERM once to those in other process groups."""
        asked: set[int] = set()
        while True:
            left = set(self._reaper.left_behind())
            for pid in left - asked:
                if not self._in_group(pid):
                    _signal(pid, signal.SIGTERM)
            asked |= left
            if self._ended.done() and not left:
                return
            await self._reaper.next_change()

    async def _kill(self) -> None:
        """Send SIGKILL to every process; repeated for the orphans that each round leaves."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_KILL_WITHIN_S):
                while True:
                    self.send_signal(signal.SIGKILL)
                    left = self._reaper.left_behind()
                    for pid in left:
                        _signal(pid, signal.SIGKILL)
                    if self._ended.done() and not left:
                        return
                    await self._reaper.next_change()
        emit(_log, PROCESSES_SURVIVED, pids=self._reaper.left_behind())

    def _in_group(self, pid: int) -> bool:
        try:
            return os.getpgid(pid) == self.pid
        except ProcessLookupError:
            return True

    def _finish(self) -> int:
        code = self._ended.result() if self._ended.done() else -signal.SIGKILL
        self._reaper.release(self.pid)
        # The status was read by the reaper; without this, Popen would warn that it was not.
        self._process.returncode = code
        return _shell_exit_code(code)


def without_secrets(environ: Mapping[str, str]) -> dict[str, str]:
    """Return an environment without the secrets of Worker and Server, and without paths to them."""
    files = {f"{secret}_FILE" for secret in SECRET_VARIABLES}
    hidden = files.union(SECRET_VARIABLES, _AGENTS_OWN)
    if any(_is_in(environ.get(_CREDENTIALS), environ.get(file)) for file in files):
        hidden.add(_CREDENTIALS)
    return {
        name: value
        for name, value in environ.items()
        if name not in hidden and not _is_named_like_secret(name)
    }


def _is_in(directory: str | None, path: str | None) -> bool:
    return bool(directory and path) and PurePath(os.path.normpath(str(path))).is_relative_to(str(directory))


def _is_named_like_secret(name: str) -> bool:
    """Return whether an unknown LYFTDATA_ variable is named like a secret: a misspelled variable still holds the secret."""
    return name.upper().startswith(PREFIX) and any(word in name.upper() for word in _SECRET_WORDS)


def _shell_exit_code(code: int) -> int:
    return code if code >= 0 else SIGNAL_EXIT_BASE - code


def _signal(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)
