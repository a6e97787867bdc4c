#!/usr/bin/env python3
"""
Run the whole example on this machine until Ctrl-C: a Server, RabbitMQ, three Workers that run Celery, and one that sends tasks.

    make celery

Needs Debian's rabbitmq-server and the packages of this checkout. All files are in a temporary directory, which is deleted at the end.
"""

import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path

HERE = Path(__file__).resolve().parent
BIN = Path(sys.executable).parent
RABBITMQ = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
WORKERS = ("press-01", "press-02", "press-03")
DESK = "desk-01"
# A Worker's permissions at the broker, in the syntax of RabbitMQ's OAuth 2 plugin: only this queue and this exchange.
SCOPES = tuple(f"rabbitmq.{permission}:jobs/celery" for permission in ("configure", "read", "write"))


def free_port() -> int:
    """Return an unused port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def until(question: Callable[[], bool], what: str) -> None:
    """Wait for a condition, for up to four minutes: RabbitMQ starts slowly on a busy machine."""
    deadline = time.monotonic() + 240
    while not question():
        if time.monotonic() > deadline:
            sys.exit(f"timed out after four minutes: {what}")
        time.sleep(0.1)


def answers(url: str) -> bool:
    """Return whether a GET returns 200."""
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:  # noqa: S310 - a loopback address
            return bool(answer.status == 200)  # noqa: PLR2004
    except OSError:
        return False


def listens(port: int) -> bool:
    """Return whether a program listens on this port of loopback."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def write_secret(file: Path, text: str) -> Path:
    """Write a file that no other user can read."""
    file.touch(0o600)
    file.write_text(text, encoding="utf-8")
    return file


class Example:
    """The programs of one run, each in its own process group, stopped in reverse order."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.server_port, self.amqp_port, self.management_port = free_port(), free_port(), free_port()
        self.url = f"http://127.0.0.1:{self.server_port}"
        self._programs: list[subprocess.Popen[bytes]] = []

    def start(
        self, name: str, command: list[str | Path], given: Mapping[str, str], *, shown: bool
    ) -> subprocess.Popen[bytes]:
        """Start a program in its own environment, without waiting for it."""
        home = self.place / name
        home.mkdir(exist_ok=True)
        environ = {"PATH": f"{BIN}:{os.environ['PATH']}", "HOME": str(home), **given}
        with (home / "log").open("wb") as log:
            program = subprocess.Popen(  # noqa: S603 - a command from this file
                command,
                cwd=HERE,
                env=environ,
                stdin=subprocess.DEVNULL,
                stdout=None if shown else log,
                stderr=log,
                start_new_session=True,
            )
        self._programs.append(program)
        return program

    def close(self) -> None:
        """Stop all programs, the last one first."""
        for program in reversed(self._programs):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(program.pid, signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                program.wait(15)
            # Its child processes may still be running.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(program.pid, signal.SIGKILL)
            program.wait()

    def ended(self) -> str:
        """Return the logs if a program has exited by itself, or the empty string."""
        for program in self._programs:
            if program.poll() is not None:
                logs = [log.read_text(errors="replace")[-2000:] for log in self.place.glob("*/log")]
                return f"{program.args!r} exited with {program.returncode}\n" + "\n".join(logs)
        return ""

    def lyftdata(self, *arguments: str, stdin: str = "") -> str:
        """Run a command as the operator, and return its output."""
        home = self.place / "operator"
        home.mkdir(exist_ok=True)
        return subprocess.run(  # noqa: S603 - a command from this file
            [BIN / "lyftdata", *arguments],
            env={"PATH": os.environ["PATH"], "HOME": str(home), "LYFTDATA_URL": self.url},
            input=stdin,
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()

    def start_server(self) -> str:
        """Start the Server, sign in, and add the broker as a resource; return the password of `admin`."""
        password = secrets.token_urlsafe(16)
        first_password = write_secret(self.place / "first-password", password)
        given = {
            "LYFTDATA_BIND_ADDRESS": f"127.0.0.1:{self.server_port}",
            "LYFTDATA_STAGING_DIR": str(self.place / "server" / "staging"),
            "LYFTDATA_ADMIN_INIT_PASSWORD_FILE": str(first_password),
        }
        self.start("server", [BIN / "lyftdata", "run", "server"], given, shown=False)
        until(lambda: answers(f"{self.url}/readyz"), "the Server is ready")
        self.lyftdata("login", "admin", "--password-stdin", stdin=f"{password}\n")
        scopes = [f"--scope={scope}" for scope in SCOPES]
        self.lyftdata("resources", "add", "rabbitmq", "--audience", "rabbitmq", "--all-workers", *scopes)
        return password

    def start_broker(self) -> None:
        """Start RabbitMQ with the files in this directory, and close_revoked.py."""
        home = self.place / "broker"
        (home / "conf.d").mkdir(parents=True)
        shutil.copy(HERE / "enabled_plugins", home)
        changes = {
            "127.0.0.1:5672": f"127.0.0.1:{self.amqp_port}",
            "management.tcp.port = 15672": f"management.tcp.port = {self.management_port}",
        }
        (home / "rabbitmq.conf").write_text(changed("rabbitmq.conf", changes), encoding="utf-8")
        changes = {
            "127.0.0.1:3000": f"127.0.0.1:{self.server_port}",
            ":KEY@": f":{self.lyftdata('resources', 'issue-key', 'rabbitmq')}@",
            "PASSWORD": secrets.token_urlsafe(16),
        }
        secrets_file = write_secret(home / "conf.d" / "lyftdata.conf", changed("lyftdata.conf", changes))
        epmd_port = free_port()
        self.start("epmd", ["epmd", "-address", "127.0.0.1", "-port", str(epmd_port)], {}, shown=False)
        until(lambda: listens(epmd_port), "epmd listens")
        self.start("broker", [RABBITMQ], broker_environ(home, epmd_port), shown=False)
        until(lambda: bool(self.ended()) or listens(self.amqp_port), "RabbitMQ listens")
        management = f"http://127.0.0.1:{self.management_port}"
        closer = [sys.executable, HERE / "close_revoked.py", secrets_file, management]
        self.start("closer", closer, {}, shown=True)

    def start_worker(self, worker_id: str, *command: str) -> None:
        """Add a Worker, and run a command with its identity."""
        issued = self.lyftdata("workers", "add", worker_id, "--id", worker_id, "--issue-key")
        key = write_secret(self.place / f"{worker_id}.key", issued)
        given = {
            "LYFTDATA_URL": self.url,
            "LYFTDATA_WORKER_ID": worker_id,
            "LYFTDATA_WORKER_API_KEY_FILE": str(key),
            "LYFTDATA_JOBS_DIR": str(self.place / worker_id / "jobs"),
            "BROKER_URL": f"amqp://127.0.0.1:{self.amqp_port}/jobs",
        }
        self.start(worker_id, [BIN / "lyftdata", "run", "worker", "--", *command], given, shown=True)


def broker_environ(home: Path, epmd_port: int) -> dict[str, str]:
    """Return the environment that keeps RabbitMQ in one directory and on loopback."""
    return {
        "RABBITMQ_NODENAME": f"lyftdata-{epmd_port}@localhost",
        "RABBITMQ_CONFIG_FILE": str(home / "rabbitmq.conf"),
        "RABBITMQ_CONFIG_FILES": str(home / "conf.d"),
        "RABBITMQ_CONF_ENV_FILE": str(home / "none"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(home / "enabled_plugins"),
        "RABBITMQ_MNESIA_BASE": str(home / "mnesia"),
        "RABBITMQ_LOG_BASE": str(home / "log.d"),
        "RABBITMQ_GENERATED_CONFIG_DIR": str(home / "generated"),
        "RABBITMQ_PID_FILE": str(home / "pid"),
        "RABBITMQ_DIST_PORT": str(free_port()),
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-start_epmd false -kernel inet_dist_use_interface {127,0,0,1}",
        "ERL_EPMD_PORT": str(epmd_port),
    }


def changed(name: str, changes: Mapping[str, str]) -> str:
    """Return the text of a file in this directory, with replacements."""
    text = (HERE / name).read_text(encoding="utf-8")
    for old, new in changes.items():
        text = text.replace(old, new)
    return text


def main() -> None:
    """Start everything, print what to try, and wait."""
    if not RABBITMQ.exists():
        sys.exit("No RabbitMQ on this machine (Debian: apt-get install rabbitmq-server).")
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with tempfile.TemporaryDirectory(prefix="lyftdata-celery-") as place:
        example = Example(Path(place))
        try:
            password = example.start_server()
            print(f"Server   {example.url}   (sign in: admin / {password})", flush=True)
            example.start_broker()
            print(f"Broker   127.0.0.1:{example.amqp_port}", flush=True)
            flags = ("--without-gossip", "--without-mingle", "--without-heartbeat", "--concurrency=1")
            for worker_id in WORKERS:
                example.start_worker(
                    worker_id,
                    "celery",
                    "--quiet",
                    "--app",
                    "celeryapp",
                    "worker",
                    *flags,
                    "--loglevel=WARNING",
                )
            example.start_worker(DESK, sys.executable, "produce.py")
            print(
                "In another terminal, sign in and disable a Worker; the others take over its tasks.\n"
                f"    export LYFTDATA_URL={example.url}\n"
                "    .venv/bin/lyftdata login admin\n"
                f"    .venv/bin/lyftdata workers disable {WORKERS[0]}\n",
                flush=True,
            )
            while not example.ended():
                time.sleep(0.5)
            sys.exit(example.ended())
        except KeyboardInterrupt:
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            print("\nStopping.")
        finally:
            example.close()


if __name__ == "__main__":
    main()
