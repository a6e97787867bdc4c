"""What a terminal obeys comes out of no command: not from its arguments, and not from a Server that means harm."""

import io
import itertools
import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import click
import pytest
from tests.openapi import example

from lyftdata.cli import main
from lyftdata.cli.credentials import Credentials
from lyftdata.core.secret import Secret
from lyftdata.server.api.admin.app import admin_app

# A title set, a screen cleared, an override of directions, a line that looks like another; and bytes that are no text,
# as Python hands them on from a command line.
HOSTILE = "\x1b]0;pwned\x07\x1b[2J\x9b31m\u202e\r\nWorker evil-01 online\u2028"
ARGUMENTS = (HOSTILE, "\udcff", "x" * 20_000, str(10**40), "-1", "")
# Colours; and what moves a progress bar: cursor off and on, line erased, up by one.
_OURS = re.compile(r"\r?\x1b\[(?:[0-9;]*m|2K|1A|\?25l|\?25h\r?)")
# What asks for a password, or does not end by itself; and what prints a text from the program.
LEFT_OUT = {("quickstart",), ("run", "server"), ("run", "worker"), ("login",), ("password",), ("completion",)}


def commands(
    group: click.Group = main.cli, path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Give every command with its path."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))
        elif command is not None and (*path, name) not in LEFT_OUT:
            yield (*path, name), command


def usual(path: tuple[str, ...], command: click.Command) -> list[str]:
    """Return how a command is called, as far as it must be told something."""
    options = [param for param in command.params if isinstance(param, click.Option)]
    given = ["--yes"] if any("--yes" in option.opts for option in options) else []
    for option in options:
        if option.required:
            given += [option.opts[0], "viewer" if option.name == "role" else "press-01"]
    return [*path, *given]


def arguments_of(command: click.Command) -> list[click.Argument]:
    """Return what stands behind the options."""
    return [param for param in command.params if isinstance(param, click.Argument)]


class Screen(io.TextIOWrapper):
    """A stream that may be a terminal."""

    is_terminal = False

    def isatty(self) -> bool:
        """Return whether it is."""
        return self.is_terminal


class Terminal:
    """Runs commands in this process, and keeps what they print as a terminal in UTF-8 would get it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._monkeypatch = monkeypatch
        self.count = 0

    def run(self, arguments: list[str], *, piped: bool = True) -> tuple[int, str]:
        """Run a command without input; return its exit code and all that it printed, without the program's own colours and bars."""
        self.count += 1
        raw = io.BytesIO(), io.BytesIO()
        out = Screen(raw[0], encoding="utf-8", errors="strict")
        err = Screen(raw[1], encoding="utf-8", errors="backslashreplace")
        out.is_terminal = err.is_terminal = not piped
        with self._monkeypatch.context() as patched:
            patched.setattr("sys.stdout", out)
            patched.setattr("sys.stderr", err)
            patched.setattr("sys.stdin", io.StringIO())
            try:
                code = main.run(arguments)
            except SystemExit as end:
                code = int(end.code or 0)
        out.flush()
        err.flush()
        return code, _OURS.sub("", b"".join(stream.getvalue() for stream in raw).decode())


@pytest.fixture
def terminal(monkeypatch, tmp_path):
    """Return a terminal in an empty directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return Terminal(monkeypatch)


def what_is_obeyed(text: str) -> list[str]:
    """Return the characters of a text that a terminal obeys."""
    return [character for character in text if not character.isprintable() and character != "\n"]


def test_no_argument_is_obeyed_by_the_terminal_or_ends_in_a_traceback(plain_site, terminal, monkeypatch):
    """Each argument and each option of each command, one at a time: done or refused with one of the four exit codes."""
    for name, value in plain_site.operator.environ.items():
        monkeypatch.setenv(name, value)
    wrong = []
    for path, command in commands():
        behind = arguments_of(command)
        plain = ["press-01"] * len(behind)
        options = [p.opts[0] for p in command.params if isinstance(p, click.Option) and not p.is_flag]
        for text in ARGUMENTS:
            tries = [[*usual(path, command), option, text, "--", *plain] for option in options]
            tries += [
                [*usual(path, command), "--", *plain[:index], text, *plain[index + 1 :]]
                for index in range(len(behind))
            ]
            for arguments in tries:
                code, printed = terminal.run(arguments)
                if code not in {0, 1, 2, 3} or what_is_obeyed(printed) or "Traceback" in printed:
                    wrong.append((arguments, code, printed[-300:]))

    assert wrong == []
    assert terminal.count > 300


class HostileServer(ThreadingHTTPServer):
    """Answers every question of the admin API in its shape, with hostile text wherever any text may stand."""

    def __init__(self, *, is_error: bool) -> None:
        self.document = admin_app().openapi()
        self.is_error = self._always_errs = is_error
        super().__init__(("127.0.0.1", 0), _Answers)

    def answer(self, method: str, path: str) -> tuple[int, str, bytes]:
        """Return status, content type and body."""
        if self.is_error:
            self.is_error = self._always_errs
            problem = dict.fromkeys(("type", "title", "detail", "code", "hint", "field"), HOSTILE)
            return 409, "application/problem+json", json.dumps(problem | {"status": 409}).encode()
        if path.startswith("/audit/export"):
            line = json.dumps({"actor": HOSTILE}, ensure_ascii=False)
            return 200, "application/x-ndjson", f"{line}\n".encode()
        if path == "/events":
            # Followed for ever otherwise.
            self.is_error = True
            worker = example({"$ref": "#/components/schemas/Worker"}, self.document, text=HOSTILE)
            data = json.dumps(worker, ensure_ascii=False).encode()
            return 200, "text/event-stream", b": connected\n\nevent: worker\ndata: " + data + b"\n\n"
        operation = self._operation(method, path)
        status, answer = next((s, a) for s, a in operation["responses"].items() if s.startswith("2"))
        schema = answer.get("content", {}).get("application/json", {}).get("schema")
        if schema is None:
            return int(status), "application/json", b""
        value = example(schema, self.document, text=HOSTILE)
        if isinstance(value, dict) and "next" in value:
            # One page: there is no end of them otherwise.
            value["next"] = None
        return int(status), "application/json", json.dumps(value).encode()

    def _operation(self, method: str, path: str) -> dict[str, Any]:
        for known, methods in self.document["paths"].items():
            if (
                re.fullmatch(re.sub(r"\\?\{\w+\\?\}", "[^/]+", known), path.partition("?")[0])
                and method in methods
            ):
                return dict(methods[method])
        raise KeyError(path)


class _Answers(BaseHTTPRequestHandler):
    server: HostileServer

    def _answer(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        status, kind, body = self.server.answer(self.command.lower(), self.path.removeprefix("/api"))
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = do_PATCH = do_PUT = do_DELETE = _answer  # noqa: N815 - so the standard library calls them

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture(params=[False, True], ids=["answers", "errors"])
def hostile_server(request, monkeypatch, tmp_path):
    """Return the address of a Server that means harm, at which an operator is signed in."""
    server = HostileServer(is_error=request.param)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    url = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setenv("LYFTDATA_URL", url)
    monkeypatch.setenv("LYFTDATA_CONFIG_DIR", str(tmp_path / "config"))
    yield url, Credentials(tmp_path / "config")
    server.shutdown()
    thread.join()
    server.server_close()


def test_nothing_that_a_server_says_is_obeyed_by_the_terminal(hostile_server, terminal, monkeypatch):
    """Every command, as a table, as fields and as JSON; no line is begun that a Server has made up."""
    monkeypatch.setattr("lyftdata.cli.worker_watch._FOLLOW_AGAIN_AFTER_S", 0)
    url, credentials = hostile_server
    wrong, printed = [], ""
    for path, command in commands():
        forms = [[], *([["--json"]] if any("--json" in p.opts for p in command.params) else [])]
        for form, piped in itertools.product(forms, (True, False)):
            if path in {("audit", "export"), ("audit", "proof")} and piped:
                # For a program, exactly as it came.
                continue
            arguments = [*usual(path, command), *form, "--", *["press-01"] * len(arguments_of(command))]
            credentials.store(url, Secret("session"))
            code, text = terminal.run(arguments, piped=piped)
            printed += text
            if (
                code not in {0, 1, 2, 3}
                or what_is_obeyed(text)
                or re.search(r"^Worker evil-01", text, re.MULTILINE)
            ):
                wrong.append((arguments, piped, code, text[-300:]))

    assert wrong == []
    assert printed.count("pwned") > 20
