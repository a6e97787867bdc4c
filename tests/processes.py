"""Real programs, each on a "host": its own directory and environment, nothing inherited."""

import copy
import fcntl
import functools
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tests import prefork
from tests.builders import SECRET_KEY

PASSWORD = "correct horse battery"
WITHIN_S = 240.0


def free_port() -> int:
    """
    Return a port that no program listens on, each only once across all processes that run tests.

    It is outside the kernel's range for outgoing connections, from which any client could take it before the Server binds it.
    """
    while True:
        port = random.SystemRandom().randint(10_000, _first_of_connections() - 1)
        if port in _given_ports or not _reserve(port):
            continue
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        _given_ports.add(port)
        return port


_given_ports: set[int] = set()


def _reserve(port: int) -> bool:
    """
    Reserve a port until this process ends; return False if another process of this user has reserved it.

    A Server that is stopped or not up yet does not hold its port, but must find it free when it starts.
    """
    try:
        fcntl.lockf(_reservations(), fcntl.LOCK_EX | fcntl.LOCK_NB, 1, port)
    except OSError:
        return False
    return True


@functools.cache
def _reservations() -> int:
    """Return a file in which a process locks a byte for each of its ports; a lock is not inherited and ends with its process."""
    # Not in TMPDIR, which may differ between two runs at the same time.
    return os.open(f"/tmp/lyftdata-test-ports-{os.getuid()}", os.O_RDWR | os.O_CREAT, 0o600)


def _first_of_connections() -> int:
    """Return the first port of the kernel's range for outgoing connections, or Linux's default."""
    setting = Path("/proc/sys/net/ipv4/ip_local_port_range")
    return int(setting.read_text(encoding="ascii").split()[0]) if setting.exists() else 32_768


def until(
    question: Callable[[], Any], what: str, *, within_s: float = WITHIN_S, every_s: float = 0.02
) -> Any:
    """Call `question` until its answer is true, and return the answer; fail after `within_s`."""
    deadline = time.monotonic() + within_s
    while True:
        answer = question()
        if answer:
            return answer
        if time.monotonic() > deadline:
            message = f"not within {within_s} s: {what}"
            raise AssertionError(message)
        time.sleep(every_s)


class Host:
    """
    A machine, as far as our programs can tell: its own home directory and environment.

    Args:
        home: An empty directory.
        prefix: A command that execs its programs, such as `ip netns exec NAME`.
        module: What is run; `lyftdata` unless a test needs it patched.
        environ: Environment variables on this host.
    """

    def __init__(
        self, home: Path, *, prefix: Sequence[str] = (), module: str = "lyftdata", **environ: str
    ) -> None:
        home.mkdir(parents=True, exist_ok=True)
        self.home = home
        self.python = (*prefix, sys.executable, "-m", module)
        self.environ = {
            "PATH": os.environ["PATH"],
            "HOME": str(home),
            "PYTHONDONTWRITEBYTECODE": "1",
            **environ,
        }
        self._count = 0

    def start(self, *arguments: str, **environ: str) -> "Program":
        """Start `lyftdata ARGUMENTS` in the background."""
        self._count += 1
        log = self.home / f"{self._count}-{arguments[1] if len(arguments) > 1 else arguments[0]}.log"
        command = (*self.python, *arguments)
        return Program(command, {**self.environ, **environ}, log, cwd=self.home)

    def run(self, *arguments: str, stdin: str = "", **environ: str) -> subprocess.CompletedProcess[str]:
        """Run `lyftdata ARGUMENTS` to its end."""
        return prefork.run(
            [*self.python, *arguments],
            env={**self.environ, **environ},
            cwd=self.home,
            stdin=stdin,
            timeout_s=180,
        )

    def done(self, *arguments: str, stdin: str = "") -> str:
        """Run a command that must succeed; return its standard output."""
        result = self.run(*arguments, stdin=stdin)
        assert result.returncode == 0, result.stderr
        return result.stdout

    def json(self, *arguments: str) -> Any:
        """Run a command with `--json`; return its parsed output."""
        return json.loads(self.done(*arguments, "--json"))


class Program:
    """A running `lyftdata` with its log in a file; ended with the test."""

    def __init__(self, command: tuple[str, ...], environ: Mapping[str, str], log: Path, *, cwd: Path) -> None:
        self.log_file = log
        self.command = command
        with log.open("wb") as stream:
            self.process = prefork.start(
                command,
                env=environ,
                cwd=cwd,
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=stream,
                start_new_session=True,
            )
        STARTED.append(self)

    @property
    def log(self) -> str:
        """Return what it has printed and logged so far."""
        return self.log_file.read_text(encoding="utf-8", errors="replace")

    def events(self, name: str) -> list[dict[str, Any]]:
        """Return the JSON log lines of an event."""
        found = []
        # What follows the last line feed may be half a line.
        for line in self.log.split("\n")[:-1]:
            if line.startswith("{") and line.endswith("}"):
                entry = json.loads(line)
                if entry.get("event") == name:
                    found.append(entry)
        return found

    def wait_for(self, name: str, *, count: int = 1, within_s: float = WITHIN_S) -> dict[str, Any]:
        """Wait until an event was logged `count` times; return the last of them."""
        try:
            until(
                lambda: len(self.events(name)) >= count or self.process.poll() is not None,
                f"{name} in the log",
                within_s=within_s,
            )
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.log}") from None
        assert len(self.events(name)) >= count, f"{self.command} ended without '{name}':\n{self.log}"
        return self.events(name)[count - 1]

    def terminate(self) -> int:
        """Ask it to end; return its exit code."""
        self.process.terminate()
        return self.exit_code()

    def kill(self) -> None:
        """Kill it without warning, as a power cut would."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def exit_code(self) -> int:
        """Wait for its end; return its exit code."""
        return self.process.wait(WITHIN_S)

    def alive(self) -> bool:
        """Return whether it runs."""
        return self.process.poll() is None


STARTED: list[Program] = []


class Site:
    """
    A Server on its own host, an operator's host, and Workers' hosts.

    Args:
        root: An empty directory.
        module: What the Server runs; `lyftdata` unless a test needs it patched.
        environ: Additional environment variables of the Server.
    """

    def __init__(self, root: Path, *, module: str = "lyftdata", **environ: str) -> None:
        self.root = root
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        given = {
            "LYFTDATA_BIND_ADDRESS": f"127.0.0.1:{self.port}",
            # The certificate is for that name.
            "LYFTDATA_PUBLIC_URL": f"https://localhost:{self.port}"
            if "LYFTDATA_TLS_CERT" in environ
            else self.url,
            "LYFTDATA_STAGING_DIR": str(root / "server" / "staging"),
            "LYFTDATA_ADMIN_INIT_PASSWORD": PASSWORD,
        }
        if "LYFTDATA_TLS_CERT" in environ:
            given["LYFTDATA_PUBLIC_URL"] = f"https://localhost:{self.port}"
        if "LYFTDATA_DATABASE_URL" in environ:
            given["LYFTDATA_SECRET_KEY"] = SECRET_KEY
        self.server_host = Host(root / "server", module=module, **(given | environ))
        self.operator = Host(root / "operator", LYFTDATA_URL=self.url)
        self.server = self.start_server()

    def seen_from(self, root: Path) -> "Site":
        """Return this same site for another test, with a different directory for its Workers' hosts."""
        other = copy.copy(self)
        other.root = root
        return other

    def start_server(self, **environ: str) -> Program:
        """Start the Server and wait until it is ready."""
        self.server = self.server_host.start("run", "server", **environ)
        self.server.wait_for("ready")
        return self.server

    def sign_in(self) -> Host:
        """Sign the operator in; return the operator's host."""
        assert "Login successful" in self.operator.done(
            "login", "admin", "--password-stdin", stdin=f"{PASSWORD}\n"
        )
        return self.operator

    def worker_host(self, name: str, **environ: str) -> Host:
        """Return a host for a Worker."""
        home = self.root / name
        return Host(home, **{"LYFTDATA_URL": self.url, "LYFTDATA_JOBS_DIR": str(home / "jobs"), **environ})

    def workers(self) -> dict[str, dict[str, Any]]:
        """Return the output of `lyftdata workers list --json`, by ID."""
        return {worker["id"]: worker for worker in self.operator.json("workers", "list")}

    def status(self, worker_id: str) -> str:
        """Return a Worker's status."""
        return str(self.workers()[worker_id]["status"])

    def cause(self, reference: str) -> str:
        """Return the code of a refusal by its reference."""
        return str(self.operator.json("refusals", "show", reference)["code"])


def end_started() -> None:
    """End every program that was started, including stopped ones."""
    while STARTED:
        program = STARTED.pop()
        if program.alive():
            program.process.send_signal(signal.SIGCONT)
            program.kill()
