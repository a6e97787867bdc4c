"""The supervisor of a Server's processes, with real processes and real signals."""

import json
import os
import signal
import socket
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

import pytest
from tests import prefork
from tests.processes import until


class Supervised:
    """A running supervisor, and what its processes have printed."""

    def __init__(self, directory: Path, *arguments: str, **environ: str) -> None:
        self.output = directory / "output"
        with self.output.open("wb") as stream:
            self.process = prefork.start(
                [sys.executable, "-m", "tests.unit.processes.supervised", *arguments],
                env={"PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1", **environ},
                cwd=directory,
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=stream,
                start_new_session=True,
            )

    def said(self, what: str, **fields: object) -> list[dict[str, Any]]:
        """Return the lines of a kind with these fields: printed by a process, or logged."""
        lines = self.output.read_text().split("\n")[:-1]
        found = [json.loads(line) for line in lines if line.startswith("{")]
        return [
            line
            for line in found
            if what in (line.get("said"), line.get("event")) and fields.items() <= line.items()
        ]

    def wait_for(self, what: str, count: int = 1, **fields: object) -> dict[str, Any]:
        """Wait for that number of lines of a kind; return the last of them."""
        until(lambda: len(self.said(what, **fields)) >= count, f"{count} of {what} {fields}")
        return self.said(what, **fields)[count - 1]

    def wait_until_ready(self) -> list[int]:
        """Wait until all processes are ready; return their PIDs."""
        self.wait_for("processes_ready")
        return self.pids()

    def pids(self) -> list[int]:
        """Return the PIDs of all processes that were ever started."""
        return [line["pid"] for line in self.said("started")]

    def exit_code(self) -> int:
        """Wait until the supervisor ends; return its exit code."""
        return self.process.wait(240)


@pytest.fixture
def start(tmp_path):
    """Return a function that starts a supervisor of two or more processes, with how some of them behave."""
    started = []

    def start(*hows: str, count: int = 2, stop_within_s: float = 1_000, **environ: str) -> Supervised:
        started.append(Supervised(tmp_path, str(count), str(stop_within_s), *hows, **environ))
        return started[-1]

    yield start
    for each in started:
        if each.process.poll() is None:
            each.process.kill()
            each.process.wait()


@pytest.fixture
def systemd():
    """Listen as systemd does; return the socket and the value of NOTIFY_SOCKET."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        name = f"lyftdata-test-{uuid.uuid4()}"
        listening.bind(f"\0{name}")
        listening.settimeout(240)
        yield listening, f"@{name}"


def is_running(pid: int) -> bool:
    """Return whether a process runs; a zombie does not."""
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False


def test_systemd_is_notified_once_when_all_processes_are_ready(start, systemd):
    """Not when the first is, and not again after one was replaced."""
    listening, address = systemd
    supervised = start(count=3, NOTIFY_SOCKET=address)

    assert listening.recv(4096) == b"READY=1"
    assert len(supervised.said("started")) == 3
    assert listening.recv(4096) == b"STATUS=3 of 3 processes. Ready."
    os.kill(supervised.pids()[1], signal.SIGKILL)
    assert listening.recv(4096) == b"STATUS=2 of 3 processes. Ready."
    assert listening.recv(4096) == b"STATUS=3 of 3 processes. Ready."
    supervised.process.terminate()
    assert listening.recv(4096).startswith(b"STOPPING=1\n")
    assert supervised.exit_code() == 0


def test_only_the_first_process_reports_a_startup_problem(start):
    """The others are not started until it is ready, and its exit code is the Server's."""
    supervised = start("1=fails", count=3)

    assert supervised.exit_code() == 5
    assert [line["number"] for line in supervised.said("started")] == [1]


def test_a_process_that_cannot_start_ends_the_startup(start):
    """Processes that already serve are stopped cleanly."""
    supervised = start("2=fails")

    assert supervised.exit_code() == 5
    assert supervised.said("ended", number=1)
    assert not supervised.said("processes_ready")


def test_a_killed_process_is_replaced(start):
    """With the same number, and the others are left alone."""
    supervised = start()
    first, second = supervised.wait_until_ready()

    os.kill(first, signal.SIGKILL)
    replaced = supervised.wait_for("started", 2, number=1)

    assert replaced["pid"] != first
    assert supervised.wait_for("process_ended")["how"] == "SIGKILL"
    assert is_running(second)
    assert not supervised.said("stop")


def test_a_failing_restart_is_retried_while_another_process_serves(start):
    """If none serves, the Server ends: connections would get no answer, and the service manager must know."""
    supervised = start("1=once", "2=once")
    first, second = supervised.wait_until_ready()

    os.kill(first, signal.SIGKILL)
    supervised.wait_for("process_ended", 2, number=1, how="exit code 5")
    assert supervised.process.poll() is None
    os.kill(second, signal.SIGKILL)

    assert supervised.exit_code() == 5


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_stops_all_processes_cleanly(start, number):
    """Each learns once which Servers stop with it, even if a terminal sends the signal to each process as well."""
    supervised = start()
    pids = supervised.wait_until_ready()
    for pid in pids:
        os.kill(pid, signal.SIGTERM)

    supervised.process.send_signal(number)

    assert supervised.exit_code() == 0
    siblings = [f"{index}-{pid}" for index, pid in enumerate(pids, 1)]
    stops = supervised.said("stop")
    assert sorted((stop["number"], *stop["siblings"]) for stop in stops) == [(1, *siblings), (2, *siblings)]
    assert len(supervised.said("ended")) == 2
    assert len(supervised.said("stopped listening")) == 1
    assert not any(is_running(pid) for pid in pids)


def test_a_signal_during_startup_ends_it(start):
    """A process that does not serve yet is terminated, as a single process would be; that is not a failure."""
    supervised = start("2=unready")
    supervised.wait_for("started", number=2)

    supervised.process.terminate()

    assert supervised.exit_code() == 0
    assert supervised.said("ended", number=1)


def test_a_process_that_does_not_stop_is_killed(start):
    """No process is left, and the exit code shows that the stop was not clean."""
    supervised = start("2=stays", stop_within_s=0.5)
    pids = supervised.wait_until_ready()

    supervised.process.terminate()
    supervised.wait_for("stop", 2)
    supervised.process.terminate()

    assert supervised.exit_code() == 1
    assert not any(is_running(pid) for pid in pids)


def test_a_second_signal_is_passed_on(start):
    """To each process."""
    supervised = start("1=stays", "2=stays")
    supervised.wait_until_ready()

    supervised.process.terminate()
    supervised.wait_for("stop", 2)
    supervised.process.terminate()

    assert {supervised.wait_for("hurry", number=number)["number"] for number in (1, 2)} == {1, 2}


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the processes stop by themselves")
def test_no_process_outlives_the_supervisor(start):
    """However it ends and whatever they do: a process without it could not be stopped, and would keep the address in use."""
    supervised = start("1=stays", "2=stays", count=3)
    pids = supervised.wait_until_ready()

    supervised.process.kill()
    supervised.process.wait()

    until(lambda: not any(is_running(pid) for pid in pids), "no process is left")


def test_a_hanging_process_is_replaced_under_a_systemd_watchdog(start, systemd):
    """Only the supervisor knows which event loop is blocked; systemd sees a healthy service."""
    _, address = systemd
    supervised = start("2=hangs", NOTIFY_SOCKET=address, WATCHDOG_USEC="8000000")
    supervised.wait_for("processes_ready")

    supervised.wait_for("process_hung", number=2)
    assert supervised.wait_for("started", 2, number=2)


def test_each_process_serves_the_metrics_of_all(start):
    """Prometheus gets the same series, whichever process it is connected to."""
    supervised = start(count=3)
    pids = supervised.wait_until_ready()
    for pid in pids:
        os.kill(pid, signal.SIGUSR1)

    texts = [supervised.wait_for("metrics", number=number)["text"] for number in (1, 2, 3)]

    assert len(set(texts)) == 1
    assert [line for line in texts[0].splitlines() if not line.startswith("#")] == [
        f't_total{{process="{number}"}} {number}.0' for number in (1, 2, 3)
    ]
