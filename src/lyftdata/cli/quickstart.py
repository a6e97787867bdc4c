"""
`lyftdata quickstart`: runs a Server with built-in defaults and one Worker of each strategy, as real processes.

The Workers get exactly the variables that they would have on other machines. Everything is removed at the end.
"""

import contextlib
import functools
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn, Self

import click

from lyftdata.cli.output import echo, echo_lines
from lyftdata.cli.run import require_server
from lyftdata.cli.stop_request import StoppedError, StopRequest
from lyftdata.core.base62 import generate_base62
from lyftdata.core.enrollment_secrets import generate_enrollment_key
from lyftdata.core.errors import LyftdataError
from lyftdata.core.secret import Secret
from lyftdata.hardening import die_with_parent
from lyftdata.private_files import PrivateDirectory
from lyftdata.temporary_directory import is_safe_directory, make_temporary_directory

_PORT = 3000
_READY_WITHIN_S = 30.0
_LOOK_EVERY_S = 0.25
_STOP_WITHIN_S = 10.0
_UNAUTHORIZED = 401

_API_KEY_WORKER = "press-01"
_ENROLLED_WORKER = "press-02"


class QuickstartError(LyftdataError):
    """One of the programs could not be started, or ended by itself."""

    code = "quickstart_failed"


class SignedOutError(LyftdataError):
    """The printed password of `admin` is no longer valid."""

    code = "signed_out"

    def __init__(self) -> None:
        super().__init__("The password of admin was changed.")


@click.command()
@click.option(
    "--dir",
    "directory",
    type=click.Path(path_type=Path),
    help="Keep everything here instead of in a temporary directory.",
)
def quickstart(directory: Path | None) -> None:
    """
    Start a Server and one Worker of each strategy, to try it out, until Ctrl-C.

    Everything is in a temporary directory, which is removed at the end.

    \b
    Example:
      lyftdata quickstart
    """
    require_server()
    echo("lyftdata quickstart: a Server and one Worker of each strategy.")
    echo("")
    with StopRequest() as stop, _working_directory(directory) as place, contextlib.ExitStack() as started:
        try:
            _Quickstart(place, started, stop).run()
        except StoppedError:
            with contextlib.suppress(OSError):
                # The terminal may be gone.
                echo("")
                echo("Stopping.")


class _Quickstart:
    """
    The programs of one run, with their passwords and keys.

    Args:
        place: A directory for their files.
        started: Ends the started programs when it is closed.
        stop: Knows whether the run was asked to stop.
    """

    def __init__(self, place: Path, started: contextlib.ExitStack, stop: StopRequest) -> None:
        self._place = place
        self._started = started
        self._stop = stop
        self._programs: dict[str, subprocess.Popen[bytes]] = {}
        self._first_password = Secret(generate_base62(secrets.token_bytes, 32))
        self._password = Secret(generate_base62(secrets.token_bytes, 16))
        port = _free_port()
        if port != _PORT:
            echo(
                f"Port {_PORT} is taken, so the Server listens on {port}: set LYFTDATA_URL=http://localhost:{port}"
            )
            echo("")
        self._port = port
        self._url = f"http://localhost:{port}"

    def run(self) -> None:
        """Start everything, and print changes of the Workers' states until Ctrl-C."""
        self._check()
        enrollment_key = self._secret_file("enrollment-key", generate_enrollment_key(secrets.token_bytes))
        self._start_server(enrollment_key)
        with _Operator(self._url, self._password) as operator:
            self._wait_until_ready(operator)
            operator.take_over(self._first_password)
            # The Server has read the first password; a directory that the user keeps should hold the valid one.
            self._secret_file("admin-password", self._password)
            echo(f"Server   {self._url}   (sign in: admin / {self._password.reveal()})")
            api_key = self._secret_file("api-key", operator.add_worker(_API_KEY_WORKER))
            self._start_worker(
                _API_KEY_WORKER,
                {"LYFTDATA_WORKER_ID": _API_KEY_WORKER, "LYFTDATA_WORKER_API_KEY_FILE": str(api_key)},
            )
            self._start_worker(
                _ENROLLED_WORKER,
                {
                    "LYFTDATA_WORKER_NAME": _ENROLLED_WORKER,
                    "LYFTDATA_AUTO_ENROLLMENT_KEY_FILE": str(enrollment_key),
                },
            )
            self._follow(operator)

    def _start_server(self, enrollment_key: Path) -> None:
        password = self._secret_file("admin-password", self._first_password)
        self._start(
            "server",
            ["run", "server"],
            {
                "LYFTDATA_STAGING_DIR": str(self._place / "server"),
                "LYFTDATA_BIND_ADDRESS": f"127.0.0.1:{self._port}",
                "LYFTDATA_ADMIN_INIT_PASSWORD_FILE": str(password),
                "LYFTDATA_AUTO_ENROLLMENT_KEY_FILE": str(enrollment_key),
            },
        )

    def _start_worker(self, name: str, given: Mapping[str, str]) -> None:
        self._start(
            name,
            ["run", "worker"],
            {"LYFTDATA_URL": self._url, "LYFTDATA_JOBS_DIR": str(self._place / name), **given},
        )

    def _start(self, name: str, arguments: list[str], given: Mapping[str, str]) -> None:
        # Settings of the user's own shell must not leak into the demonstration.
        environ = {key: value for key, value in os.environ.items() if not key.startswith("LYFTDATA_")}
        with (self._place / f"{name}.log").open("wb") as log:
            program = subprocess.Popen(  # noqa: S603 - our own program, with our own arguments
                [sys.executable, "-m", "lyftdata", *arguments],
                env={**environ, **given},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # Only this process handles Ctrl-C; it ends the others in order.
                start_new_session=True,
                # They must not outlive this process, with their secrets, if it is killed (by the OOM killer, for example).
                preexec_fn=functools.partial(die_with_parent, os.getpid(), signal.SIGTERM),  # noqa: PLW1509 - one thread
            )
        self._programs[name] = program
        self._started.callback(_end, program)

    def _secret_file(self, name: str, secret: Secret) -> Path:
        _private(self._place).write(name, secret.reveal().encode())
        return self._place / name

    def _wait_until_ready(self, operator: "_Operator") -> None:
        deadline = time.monotonic() + _READY_WITHIN_S
        while not operator.is_ready():
            self._check()
            if time.monotonic() > deadline:
                raise QuickstartError(f"The Server did not get ready within {_READY_WITHIN_S:.0f} s.")
            time.sleep(_LOOK_EVERY_S / 5)

    def _follow(self, operator: "_Operator") -> None:
        """Print a line for each change of a Worker's state, and what to try next when both are online for the first time."""
        shown: dict[str, str] = {}
        next_steps_printed = False
        while True:
            try:
                states = operator.states()
            except SignedOutError:
                echo("admin has another password now: the Workers' states are not shown here any more.")
                self._wait()
            next_steps_printed = self._show(states, shown, next_steps_printed=next_steps_printed)
            self._check()
            time.sleep(_LOOK_EVERY_S)

    def _show(self, states: dict[str, str], shown: dict[str, str], *, next_steps_printed: bool) -> bool:
        """Print the changed states; return whether the next steps have been printed."""
        for name, strategy in ((_API_KEY_WORKER, "API key"), (_ENROLLED_WORKER, "Auto-Enrollment")):
            state = states.get(name, "")
            if state not in {"", "never_connected", shown.get(name, "")}:
                echo(f"Worker   {name}   {strategy:15}   {state}")
                shown[name] = state
        if not next_steps_printed and list(shown.values()) == ["online"] * 2:
            self._print_next_steps()
            return True
        return next_steps_printed

    def _wait(self) -> NoReturn:
        """Wait until Ctrl-C, or until a program ends unexpectedly."""
        while True:
            self._check()
            time.sleep(_LOOK_EVERY_S)

    def _print_next_steps(self) -> None:
        at = "" if self._port == _PORT else f" --url {self._url}"
        # In a checkout the program is not on the PATH: print a command that can be pasted.
        program = "lyftdata" if shutil.which("lyftdata") else sys.argv[0]
        echo_lines(
            f"""
Try, in another terminal:
  {program} login admin{at}
  {program} workers list{at}
  {program} workers disable {_API_KEY_WORKER}{at}
      and see it stop here; `enable` brings it back
  LYFTDATA_JOBS_DIR=intruder LYFTDATA_WORKER_ID={_API_KEY_WORKER} LYFTDATA_WORKER_API_KEY=wrong {program} run worker{at}
      a caller with a wrong key is refused; `{program} refusals list{at}` shows the reason
Logs: {self._place}/*.log     Ctrl-C ends it all.
"""
        )

    def _check(self) -> None:
        """Raise an error if the demonstration is over: it was asked to stop, or a program ended unexpectedly."""
        self._stop.check()
        for name, program in self._programs.items():
            code = program.poll()
            if code is None or (name != "server" and code == 3):  # noqa: PLR2004 - a Worker refused for good: shown as it is
                continue
            log = (self._place / f"{name}.log").read_text(encoding="utf-8", errors="replace")
            raise QuickstartError(f"{name} has ended with code {code}. Its log:\n{log[-2000:]}")


class _Operator:
    """A client for the demonstration's requests as admin."""

    def __init__(self, url: str, password: Secret) -> None:
        import httpx2

        self._errors = (httpx2.TransportError, httpx2.HTTPStatusError)
        self._http = httpx2.Client(base_url=url, timeout=10.0, verify=False, trust_env=False)
        self._password = password

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def is_ready(self) -> bool:
        """Return whether the Server answers."""
        try:
            return self._http.get("/readyz").status_code == 200  # noqa: PLR2004
        except self._errors:
            return False

    def take_over(self, first_password: Secret) -> None:
        """Replace the first password by the one that is printed, so that the user who signs in with that one need not change it."""
        self._sign_in(first_password)
        body = {"current_password": first_password.reveal(), "new_password": self._password.reveal()}
        self._http.post("/api/me/password", json=body).raise_for_status()

    def add_worker(self, name: str) -> Secret:
        """Add a Worker with its own key; return the key."""
        answer = self._http.post(
            "/api/workers", json={"name": name, "id": name, "issue_key": True}
        ).raise_for_status()
        return Secret(answer.json()["api_key"]["key"])

    def states(self) -> dict[str, str]:
        """
        Return the Workers' states by name; empty while the Server cannot be reached.

        Raises:
            SignedOutError: The session has ended, and the printed password is no longer valid. Retrying it would lock out the person
                who has changed it.
        """
        try:
            answer = self._http.get("/api/workers")
            if (
                answer.status_code == _UNAUTHORIZED
            ):  # the session has ended, after twelve hours or because of a new password
                self._sign_in(self._password)
                answer = self._http.get("/api/workers")
            workers: list[dict[str, Any]] = answer.raise_for_status().json()["items"]
        except self._errors:
            return {}
        return {w["name"]: "disabled" if not w["enabled"] else w["status"] for w in workers}

    def _sign_in(self, password: Secret) -> None:
        body = {"username": "admin", "password": password.reveal()}
        answer = self._http.post("/api/login", json=body)
        if answer.is_client_error:
            raise SignedOutError
        token = answer.raise_for_status().json()["token"]
        self._http.headers["Authorization"] = f"Bearer {token}"


def _free_port() -> int:
    """Return port 3000, or a free one when it is taken."""
    for port in (_PORT, 0):
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise QuickstartError("No port is free on this machine.")


def _end(program: subprocess.Popen[bytes]) -> None:
    """Ask a program to end, and kill it if it does not."""
    program.terminate()
    try:
        program.wait(_STOP_WITHIN_S)
    except subprocess.TimeoutExpired:
        program.kill()
        program.wait()


def _private(directory: Path) -> PrivateDirectory:
    return PrivateDirectory(directory, named_by="--dir", child="demo")


@contextlib.contextmanager
def _working_directory(directory: Path | None) -> Iterator[Path]:
    """Yield a private directory, removed at the end unless the user named it."""
    if directory is not None:
        try:
            _private(directory).make()
            if any(directory.iterdir()):
                raise click.UsageError(f"{directory} is not empty: name a new directory.")
        except OSError as error:
            raise click.UsageError(f"--dir: {directory} cannot be used: {error.strerror}.") from error
        yield directory.absolute()
        return
    # If this process is killed, the next quickstart removes it: it holds every secret of the demonstration.
    place = Path(tempfile.gettempdir())
    if not is_safe_directory(place):
        raise click.UsageError(f"Others can move what is in {place}: name a directory with --dir.")
    with make_temporary_directory(place, prefix="lyftdata-quickstart-") as made:
        yield made.path
