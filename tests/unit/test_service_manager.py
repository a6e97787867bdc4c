"""What systemd is told, read at a real datagram socket."""

import asyncio
import os
import socket
import uuid

import pytest

from lyftdata.service_manager import Notifier


@pytest.fixture(params=["path", "abstract"])
def systemd(request, tmp_path, monkeypatch):
    """Listen as systemd does; return the socket and what NOTIFY_SOCKET says."""
    monkeypatch.chdir(tmp_path)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        name = f"lyftdata-test-{uuid.uuid4()}"
        listening.bind(f"\0{name}" if request.param == "abstract" else "notify")
        listening.settimeout(180)
        yield listening, f"@{name}" if request.param == "abstract" else "notify"


def test_assignments_are_one_datagram(systemd):
    """At a path and at an abstract name: NAME=value, a line each."""
    listening, address = systemd

    Notifier({"NOTIFY_SOCKET": address}).notify(READY="1", STATUS="Online as press-01.")

    assert listening.recv(4096) == b"READY=1\nSTATUS=Online as press-01."


def test_what_a_server_says_makes_no_assignment_of_its_own(systemd):
    """A line break, or what is no text, in a value: one assignment all the same."""
    listening, address = systemd

    Notifier({"NOTIFY_SOCKET": address}).notify(STATUS="Online as x.\nMAINPID=1\r\ud800")

    assert listening.recv(4096).decode() == "STATUS=Online as x.\ufffdMAINPID=1\ufffd\ufffd"


@pytest.mark.parametrize(
    "environ", [{}, {"NOTIFY_SOCKET": "/none/there"}, {"NOTIFY_SOCKET": "@" + "x" * 200}]
)
def test_where_nobody_listens_nothing_happens(environ):
    """Without systemd, or with one that is gone, a Worker goes on."""
    Notifier(environ).notify(READY="1")


async def test_the_watchdog_is_told_twice_as_often_as_it_asks(systemd):
    """WATCHDOG=1 comes at half of WATCHDOG_USEC, again and again."""
    listening, address = systemd
    environ = {"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "40000", "WATCHDOG_PID": str(os.getpid())}

    task = asyncio.create_task(Notifier(environ).notify_watchdog())
    for _ in range(3):
        assert await asyncio.to_thread(listening.recv, 4096) == b"WATCHDOG=1"
    task.cancel()


@pytest.mark.parametrize(
    "environ", [{}, {"WATCHDOG_USEC": "40000", "WATCHDOG_PID": "1"}, {"WATCHDOG_USEC": "soon"}]
)
async def test_a_watchdog_of_others_is_not_ours(environ):
    """Without one, or with one that is meant for another process, there is nothing to keep."""
    async with asyncio.timeout(180):
        await Notifier({"NOTIFY_SOCKET": "@nobody", **environ}).notify_watchdog()
