"""
The program that runs under the Worker's identity.

It is a process group of its own: told to stop, all of it gets SIGTERM, time, then SIGKILL. It inherits none of
the Worker's secrets. Its output is its own.
"""

import asyncio
import contextlib
import os
import signal
from collections.abc import Mapping, Sequence

from lyftdata.core.errors import LyftdataError
from lyftdata.core.settings import PREFIX, SECRET_VARIABLES
from lyftdata.log import get_logger

_log = get_logger(__name__)

_SECRET_WORDS = ("KEY", "SECRET", "PASSWORD", "TOKEN", "CREDENTIAL")
GRACE_S = 10.0
# Shells report a program that died by a signal like this; whoever started us expects the same.
_SIGNAL_EXIT_BASE = 128


class CommandError(LyftdataError):
    """The COMMAND cannot be started."""

    code = "command_not_started"


class Child:
    """One run of the COMMAND; made by `start`."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @classmethod
    async def start(
        cls, command: Sequence[str], *, environ: Mapping[str, str], identity: Mapping[str, str]
    ) -> "Child":
        """
        Start the COMMAND.

        Args:
            command: Program and arguments.
            environ: Environment to hand on; the secrets are taken out of it.
            identity: Variables that say who the Worker is.

        Raises:
            CommandError: There is no such program, or it may not be run.
        """
        try:
            process = await asyncio.create_subprocess_exec(
                *command, env={**without_secrets(environ), **identity}, start_new_session=True
            )
        except OSError as error:
            raise CommandError(f"{command[0]} cannot be started: {error.strerror}.") from error
        return cls(process)

    async def wait(self) -> int:
        """Wait for the end; return the exit code as a shell would."""
        code = await self._process.wait()
        return code if code >= 0 else _SIGNAL_EXIT_BASE - code

    def send_signal(self, number: int) -> None:
        """Pass a signal on to the whole process group."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)

    async def stop(self, *, grace_s: float = GRACE_S) -> int:
        """Ask the whole process group to end, and end it after the grace; return the exit code."""
        self.send_signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(grace_s):
                code = await self.wait()
        except TimeoutError:
            _log.warning("killing the command", grace_s=grace_s)
            self.send_signal(signal.SIGKILL)
            code = await self.wait()
        # Whatever it started and left behind must not work on without an identity either.
        self.send_signal(signal.SIGKILL)
        return code


def without_secrets(environ: Mapping[str, str]) -> dict[str, str]:
    """Return an environment without the secrets of Worker and Server, and without the paths to them."""
    hidden = {name for secret in SECRET_VARIABLES for name in (secret, f"{secret}_FILE")}
    return {name: value for name, value in environ.items() if name not in hidden and not _may_be_one(name)}


def _may_be_one(name: str) -> bool:
    """Return whether an unknown variable of ours is named like a secret: a misspelt one holds it all the same."""
    return name.upper().startswith(PREFIX) and any(word in name.upper() for word in _SECRET_WORDS)
