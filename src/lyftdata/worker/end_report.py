"""
Writes the reason for the end of a Worker to where people look first: systemd's status, and a container's termination message.

Kubernetes shows the text at `terminationMessagePath` in `kubectl describe pod`; without it, one has to find the log of a container
that has been replaced. A requested stop writes nothing.
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

# Kubernetes truncates longer text (`terminationMessagePath` in its API reference).
_MAX_BYTES = 4096
_MAX_STATUS = 400


class EndReport:
    """
    Writes the reason why the agent ends.

    Args:
        environ: NOTIFY_SOCKET and LYFTDATA_TERMINATION_LOG. Not the settings, since invalid settings are such a reason too.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._notifier = Notifier(environ)
        self._path = trim(environ.get("LYFTDATA_TERMINATION_LOG", "")) or DEFAULT_TERMINATION_LOG

    def refused(self, refused: RefusedByServerError) -> None:
        """Report a final refusal by the Server."""
        cause = f" ({clean_text(refused.cause_code, 64)})" if refused.cause_code else ""
        reference = f" Reference {clean_text(refused.reference, 32)}." if refused.reference else ""
        remedy = f" {clean_text(refused.hint, 400)}" if refused.hint else ""
        self._write(
            f"The Server refused this Worker for good{cause}: {clean_text(refused.message, 400)}{reference}{remedy}"
        )

    def command_ended(self, exit_code: int) -> None:
        """Report that the COMMAND ended by itself with a failure."""
        self._write(f"The COMMAND ended with exit code {exit_code}.")

    def failed(self, error: LyftdataError) -> None:
        """Report that the Worker could not start or continue."""
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
    """Write to an existing file: the container's runtime creates it; elsewhere there is none."""
    # Not through a symbolic link, and not to a terminal or a pipe, which could block the agent's exit.
    descriptor = os.open(path, os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.ftruncate(descriptor, 0)
            os.write(descriptor, content)
    finally:
        os.close(descriptor)
