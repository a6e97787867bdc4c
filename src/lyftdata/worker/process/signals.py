"""
Handles the signals of an agent and its COMMAND.

| signal | with a COMMAND running | without |
|---|---|---|
| TERM, INT | the COMMAND gets it, the grace, then SIGKILL; the agent ends | the agent ends, exit 0 |
| HUP, QUIT | passed on | the agent ends, exit 128+n |
| USR1, USR2, WINCH | passed on | nothing |
| TSTP, CONT | COMMAND and agent stop and go on together | as for any program |
"""

import asyncio
import contextlib
import signal
from collections.abc import Iterator
from typing import Protocol

from lyftdata.worker.process.supervisor import CommandSupervisor

_END = (signal.SIGTERM, signal.SIGINT)
_END_WITHOUT_COMMAND = (signal.SIGHUP, signal.SIGQUIT)
_ONLY_PASSED_ON = (signal.SIGUSR1, signal.SIGUSR2, signal.SIGWINCH)


class Stoppable(Protocol):
    """Something that a signal can stop: the agent."""

    def stop(self, number: int | None = None) -> bool:
        """Stop because of this signal; return whether it was not stopping already."""
        ...


@contextlib.contextmanager
def signals_passed_on(agent: Stoppable, supervisor: CommandSupervisor) -> Iterator[None]:
    """Handle every signal that concerns the COMMAND within the block; needs a running loop in the main thread."""
    loop = asyncio.get_running_loop()

    def end(number: int) -> None:
        # The agent first passes this signal to the COMMAND; a second one is passed on while the COMMAND ends.
        if not agent.stop(number):
            supervisor.send_signal(number)

    def pass_on_or_end(number: int) -> None:
        if not supervisor.send_signal(number):
            agent.stop(number)

    taken = dict.fromkeys(_END, end) | dict.fromkeys(_END_WITHOUT_COMMAND, pass_on_or_end)
    for number, handler in taken.items():
        # With `nohup`, SIGHUP was ignored when this process started, and stays ignored.
        if number in _END or signal.getsignal(number) is not signal.SIG_IGN:
            loop.add_signal_handler(number, handler, number)
    for number in _ONLY_PASSED_ON:
        loop.add_signal_handler(number, supervisor.send_signal, number)
    if supervisor.has_command:
        loop.add_signal_handler(signal.SIGTSTP, supervisor.suspend)
        loop.add_signal_handler(signal.SIGCONT, supervisor.resume)
    try:
        yield
    finally:
        for number in (*taken, *_ONLY_PASSED_ON, signal.SIGTSTP, signal.SIGCONT):
            loop.remove_signal_handler(number)
