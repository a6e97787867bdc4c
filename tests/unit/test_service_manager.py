"""Notifications to systemd, read from a real datagram socket."""

import asyncio
import os
import socket
import uuid

import pytest

from lyftdata.service_manager import Notifier


@pytest.fixture(params=["path", "abstract"])
def systemd(request, tmp_path, monkeypatch):
    """Listen as systemd does; return the socket and the value of NOTIFY_SOCKET."""
    monkeypatch.chdir(tmp_path)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        name = f"lyftdata-test-{uuid.uuid4()}"
        listening.bind(f"\0{name}" if request.param == "abstract" else "notify")
        listening.settimeout(180)
        yield listening, f"@{name}" if request.param == "abstract" else "notify"


def test_assignments_are_one_datagram(systemd):
    """With one NAME=value per line, to a path or an abstract name."""
    listening, address = systemd

    Notifier({"NOTIFY_SOCKET": address}).notify(READY="1", STATUS="Online as press-01.")

    assert listening.recv(4096) == b"READY=1\nSTATUS=Online as press-01."


def test_a_servers_text_cannot_add_an_assignment(systemd):
    """A line break or a lone surrogate in a value is replaced."""
    listening, address = systemd

    Notifier({"NOTIFY_SOCKET": address}).notify(STATUS="Online as x.\nMAINPID=1\r\ud800")

    assert listening.recv(4096).decode() == "STATUS=Online as x.\ufffdMAINPID=1\ufffd\ufffd"


@pytest.mark.parametrize(
    "environ", [{}, {"NOTIFY_SOCKET": "/none/there"}, {"NOTIFY_SOCKET": "@" + "x" * 200}]
)
def test_notifying_without_systemd_does_nothing(environ):
    """Without systemd, or if its socket is gone, a Worker continues."""
    Notifier(environ).notify(READY="1")


async def test_the_watchdog_is_notified_at_half_its_interval(systemd):
    """WATCHDOG=1 is sent again and again, every half of WATCHDOG_USEC."""
    listening, address = systemd
    environ = {"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "40000", "WATCHDOG_PID": str(os.getpid())}

    task = asyncio.create_task(Notifier(environ).notify_watchdog())
    for _ in range(3):
        assert await asyncio.to_thread(listening.recv, 4096) == b"WATCHDOG=1"
    task.cancel()


@pytest.mark.parametrize(
    "environ", [{}, {"WATCHDOG_USEC": "40000", "WATCHDOG_PID": "1"}, {"WATCHDOG_USEC": "soon"}]
)
async def test_another_processs_watchdog_is_ignored(environ):
    """Without a watchdog, or with one for another process, nothing is sent."""
    async with asyncio.timeout(180):
        await Notifier({"NOTIFY_SOCKET": "@nobody", **environ}).notify_watchdog()
