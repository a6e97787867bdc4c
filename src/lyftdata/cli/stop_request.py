"""Ctrl-C and termination signals, remembered until the program can stop in order."""

import signal
from types import FrameType
from typing import Any, Self


class StoppedError(Exception):
    """The program was asked to stop: by Ctrl-C, SIGTERM or SIGHUP."""


class StopRequest:
    """
    Remembers Ctrl-C, SIGTERM and SIGHUP within its block, so that the program ends at its next check.

    An exception raised by the signal handler could interrupt the creation of a directory, which would then not be removed, or be lost
    in a function whose exceptions Python only reports, such as those that run at each fork. A second Ctrl-C changes nothing: the
    started programs are ended first.
    """

    def __init__(self) -> None:
        self._requested = False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        # SIGHUP: the terminal was closed. SIGINT too: a shell starts background jobs with Ctrl-C ignored, and `kill -INT` must end them.
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            self._before[number] = signal.signal(number, self._remember)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def check(self) -> None:
        """
        Return if the program may continue.

        Raises:
            StoppedError: It was asked to stop.
        """
        if self._requested:
            raise StoppedError

    def _remember(self, _number: int, _frame: FrameType | None) -> None:
        self._requested = True
