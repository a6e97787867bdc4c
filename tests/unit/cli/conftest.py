"""A Server in this process that listens on loopback, and hosts whose commands also run in this process."""

import asyncio
import contextlib
import json
import os
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

import pytest
import structlog
import uvicorn
from click.testing import CliRunner
from tests.builders import ENROLLMENT_KEY, SECRET_KEY
from tests.deployment import CHEAP, PASSWORD

from lyftdata.app import create_app
from lyftdata.cli.main import run
from lyftdata.server.admin import passwords
from lyftdata.server.admin.passwords import Passwords
from lyftdata.server.runtime.settings import read_server_settings
from lyftdata.server.runtime.wiring.open_services import open_services


class Ended(NamedTuple):
    """A command's exit code and output."""

    exit_code: int
    output: str
    errors: str


class CommandHost:
    """
    A host with its own home directory and environment, on which `lyftdata` commands run.

    Args:
        home: Created if it does not exist.
        environ: The environment variables of this host; no others are inherited.
    """

    def __init__(self, home: Path, **environ: str) -> None:
        home.mkdir(parents=True, exist_ok=True)
        self.home = home
        self.environ = {"PATH": os.environ["PATH"], "HOME": str(home), "TERM": "xterm", **environ}

    def run(
        self, *arguments: str, stdin: str = "", columns: int = 0, piped: bool = False, **environ: str
    ) -> Ended:
        """
        Run a command until it ends.

        Args:
            arguments: The arguments after `lyftdata`.
            stdin: Its standard input, or the text typed at the terminal.
            columns: The width of its terminal; 0 if its streams are pipes.
            piped: Whether standard output is a pipe while the other streams are the terminal.
            environ: More environment variables for this command.
        """
        given = self.environ | environ | ({"COLUMNS": str(columns)} if columns else {})
        with contextlib.ExitStack() as entered:
            entered.enter_context(patch.dict(os.environ, given, clear=True))
            entered.enter_context(contextlib.chdir(self.home))
            output, errors, _ = entered.enter_context(CliRunner().isolation(input=stdin))
            if columns:
                for stream in (sys.stdin, sys.stderr, *([] if piped else [sys.stdout])):
                    entered.enter_context(patch.object(stream, "isatty", lambda: True))
            exit_code = run(list(arguments))
            sys.stdout.flush()
            sys.stderr.flush()
            return Ended(exit_code, output.getvalue().decode(), errors.getvalue().decode())

    def done(self, *arguments: str, stdin: str = "") -> str:
        """Run a command that must succeed; return its standard output."""
        ended = self.run(*arguments, stdin=stdin)
        assert ended.exit_code == 0, ended.errors
        return ended.output

    def json(self, *arguments: str) -> Any:
        """Run a command with `--json`; return its parsed output."""
        return json.loads(self.done(*arguments, "--json"))


class ListeningServer:
    """
    A Server in a thread of this process, on its own port.

    Args:
        root: The directory for its state and its hosts.
        environ: More environment variables for the Server.
    """

    def __init__(self, root: Path, **environ: str) -> None:
        self.root = root
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._socket.getsockname()[1])
        self.url = f"http://127.0.0.1:{self.port}"
        self.staging = root / "server" / "staging"
        self.host = CommandHost(
            root / "server",
            **{
                "LYFTDATA_STAGING_DIR": str(self.staging),
                "LYFTDATA_BIND_ADDRESS": f"127.0.0.1:{self.port}",
                "LYFTDATA_PUBLIC_URL": self.url,
                "LYFTDATA_SECRET_KEY": SECRET_KEY,
                "LYFTDATA_ADMIN_INIT_PASSWORD": PASSWORD,
                "LYFTDATA_AUTO_ENROLLMENT_KEY": ENROLLMENT_KEY,
            }
            | environ,
        )
        self._uvicorn: Future[uvicorn.Server] = Future()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        self._uvicorn.result()

    def worker_host(self, name: str, **environ: str) -> CommandHost:
        """Return another host, for a Worker."""
        home = self.root / name
        return CommandHost(
            home, **{"LYFTDATA_URL": self.url, "LYFTDATA_JOBS_DIR": str(home / "jobs")} | environ
        )

    def signed_in(self, name: str = "operator") -> CommandHost:
        """Return a host on which the administrator is signed in."""
        host = CommandHost(self.root / name, LYFTDATA_URL=self.url)
        host.done("login", "admin", "--password-stdin", stdin=f"{PASSWORD}\n")
        return host

    def close(self) -> None:
        """Stop the Server."""
        self._uvicorn.result().should_exit = True
        self._thread.join()
        self._socket.close()

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as error:
            if not self._uvicorn.done():
                self._uvicorn.set_exception(error)
            raise

    async def _serve(self) -> None:
        settings = read_server_settings(self.host.environ)
        async with open_services(settings, passwords=Passwords(CHEAP)) as services:
            config = uvicorn.Config(create_app(services), lifespan="off", log_config=None, ws="none")
            server = uvicorn.Server(config)
            self._uvicorn.set_result(server)
            await server.serve(sockets=[self._socket])


Listen = Callable[..., ListeningServer]


@pytest.fixture(scope="module")
def listen(tmp_path_factory: pytest.TempPathFactory, _shared_starts: None) -> Iterator[Listen]:
    """Yield a function that starts a Server; all of them are stopped after the tests of the file."""
    root = tmp_path_factory.mktemp("listening")
    started: list[ListeningServer] = []

    def start(**environ: str) -> ListeningServer:
        started.append(ListeningServer(root / str(len(started)), **environ))
        return started[-1]

    # Otherwise their log would appear in the output of a command that runs at the same time.
    with (root / "servers.log").open("w", encoding="utf-8") as log:
        structlog.configure(logger_factory=structlog.PrintLoggerFactory(log))
        yield start
        for server in started:
            server.close()
        structlog.reset_defaults()


@pytest.fixture(scope="module")
def listening(listen: Listen) -> ListeningServer:
    """Return the Server that the tests of a file share, with enrollment on."""
    return listen()


@pytest.fixture(scope="module")
def operator(listening: ListeningServer) -> CommandHost:
    """Return a host on which the administrator of the shared Server is signed in."""
    return listening.signed_in()


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory, _shared_starts: None) -> Iterator[CommandHost]:
    """Yield the host of a Server that has run once and stopped; its password hashes use Argon2's lowest costs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(passwords, "PasswordHasher", lambda: CHEAP)
        server = ListeningServer(tmp_path_factory.mktemp("stopped"))
        server.signed_in()
        server.close()
        yield server.host
