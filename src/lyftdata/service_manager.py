"""Notifies systemd of a service's state (`sd_notify(3)`), by datagrams to the socket in NOTIFY_SOCKET."""

import asyncio
import contextlib
import os
import socket
from collections.abc import Mapping

from lyftdata.core.text import clean_line

_MICROSECONDS = 1_000_000


class Notifier:
    """
    Sends a Server's or a Worker's state to systemd; without NOTIFY_SOCKET every call does nothing.

    Args:
        environ: NOTIFY_SOCKET (a path, or `@` and an abstract name), WATCHDOG_USEC and WATCHDOG_PID.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        address = environ.get("NOTIFY_SOCKET", "")
        self._address = f"\0{address[1:]}" if address.startswith("@") else address
        meant_for_us = environ.get("WATCHDOG_PID", "") in {"", str(os.getpid())}
        usec = environ.get("WATCHDOG_USEC", "")
        self._watchdog_s = int(usec) / _MICROSECONDS if usec.isdecimal() and meant_for_us else 0.0

    @property
    def watchdog_s(self) -> float:
        """Return within how many seconds systemd must be notified that this program is well; 0 where it need not be."""
        return self._watchdog_s if self._address else 0.0

    def notify(self, **state: str) -> None:
        """Send assignments, for example `notify(READY="1", STATUS="online")`."""
        if not self._address:
            return
        # A line is an assignment: text from elsewhere must not add one.
        text = "\n".join(f"{name}={clean_line(value)}" for name, value in state.items())
        # systemd that is busy or gone must not block or end a service.
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as stream:
            stream.setblocking(False)
            stream.sendto(text.encode(), self._address)

    async def notify_watchdog(self) -> None:
        """Send WATCHDOG=1 at half the interval while the event loop runs; returns at once without a watchdog."""
        while self.watchdog_s:
            self.notify(WATCHDOG="1")
            await asyncio.sleep(self.watchdog_s / 2)
