"""
Puts the reason for which a Worker ends where people look first: systemd's status, and a container's termination message.

Kubernetes shows the text of `terminationMessagePath` in `kubectl describe pod`; without it, one has to find the log of a container
that has been replaced. An end that was asked for leaves none.
"""

import contextlib
import os
import stat
from collections.abc import Mapping

from lyftdata.core.errors import LyftdataError, SettingsError
from lyftdata.core.secret_text import trim
from lyftdata.core.text import clean_text
from lyftdata.service_manager import Notifier
from lyftdata.worker.client import RefusedByServerError
from lyftdata.worker.settings import DEFAULT_TERMINATION_LOG

# Kubernetes cuts what is longer (`terminationMessagePath` in its API reference).
_MAX_BYTES = 4096
_MAX_STATUS = 400


class EndReport:
    """
    Writes the reason for which the agent ends.

    Args:
        environ: NOTIFY_SOCKET and LYFTDATA_TERMINATION_LOG. Not the settings: that they cannot be read is a reason too.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._notifier = Notifier(environ)
        self._path = trim(environ.get("LYFTDATA_TERMINATION_LOG", "")) or DEFAULT_TERMINATION_LOG

    def refused(self, refused: RefusedByServerError) -> None:
        """Report that the Server has refused this Worker for good."""
        cause = f" ({clean_text(refused.cause_code, 64)})" if refused.cause_code else ""
        reference = f" Reference {clean_text(refused.reference, 32)}." if refused.reference else ""
        remedy = f" {clean_text(refused.hint, 400)}" if refused.hint else ""
        self._write(
            f"The Server refused this Worker for good{cause}: {clean_text(refused.message, 400)}{reference}{remedy}"
        )

    def command_ended(self, exit_code: int) -> None:
        """Report that the COMMAND has ended by itself, and failed."""
        self._write(f"The COMMAND ended with exit code {exit_code}.")

    def failed(self, error: LyftdataError) -> None:
        """Report that the Worker did not start, or could not go on."""
        problems = (
            error.problems if isinstance(error, SettingsError) else [f"{error.message} {error.hint}".strip()]
        )
        self._write("\n".join(clean_text(problem, 400) for problem in problems))

    def _write(self, reason: str) -> None:
        self._notifier.notify(STATUS=f"Ended: {reason}"[:_MAX_STATUS])
        # The reason is in the log in any case.
        with contextlib.suppress(OSError, ValueError):
            _overwrite(self._path, reason.encode()[:_MAX_BYTES])


def _overwrite(path: str, content: bytes) -> None:
    """Write to a file that is there already: the container's runtime makes it, and elsewhere there is none."""
    # Not through a symbolic link, and not to a terminal or a pipe, which could keep the agent from ending.
    descriptor = os.open(path, os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.ftruncate(descriptor, 0)
            os.write(descriptor, content)
    finally:
        os.close(descriptor)
