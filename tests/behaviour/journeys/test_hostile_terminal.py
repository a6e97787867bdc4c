"""No command prints terminal control sequences from its arguments or from a malicious Server."""

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

# Sets the title, clears the screen, overrides the text direction, fakes a line; and undecodable bytes, as Python passes them
# on from a command line.
HOSTILE = "\x1b]0;pwned\x07\x1b[2J\x9b31m\u202e\r\nWorker evil-01 online\u2028"
ARGUMENTS = (HOSTILE, "\udcff", "x" * 20_000, str(10**40), "-1", "")
# Our own: colours, and for progress bars hiding and showing the cursor, erasing a line, moving up by one.
_OURS = re.compile(r"\r?\x1b\[(?:[0-9;]*m|2K|1A|\?25l|\?25h\r?)")
# Commands that ask for a password or do not end by themselves, and one that prints a script of the program.
LEFT_OUT = {("quickstart",), ("run", "server"), ("run", "worker"), ("login",), ("password",), ("completion",)}


def commands(
    group: click.Group = main.cli, path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Yield every command with its path."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))
        elif command is not None and (*path, name) not in LEFT_OUT:
            yield (*path, name), command


def minimal_call(path: tuple[str, ...], command: click.Command) -> list[str]:
    """Return the command's path with the options that it requires."""
    options = [param for param in command.params if isinstance(param, click.Option)]
    given = ["--yes"] if any("--yes" in option.opts for option in options) else []
    for option in options:
        if option.required:
            given += [option.opts[0], "viewer" if option.name == "role" else "press-01"]
    return [*path, *given]


def arguments_of(command: click.Command) -> list[click.Argument]:
    """Return the positional arguments."""
    return [param for param in command.params if isinstance(param, click.Argument)]


class Screen(io.TextIOWrapper):
    """An output stream that can pose as a terminal."""

    is_terminal = False

    def isatty(self) -> bool:
        """Return whether it poses as a terminal."""
        return self.is_terminal


class Terminal:
    """Runs commands in this process and captures their output as a UTF-8 terminal would get it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._monkeypatch = monkeypatch
        self.count = 0

    def run(self, arguments: list[str], *, piped: bool = True) -> tuple[int, str]:
        """Run a command without input; return its exit code and its output, without the program's own colours and progress bars."""
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
    """Return a terminal whose working directory is empty."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return Terminal(monkeypatch)


def control_characters(text: str) -> list[str]:
    """Return the characters of a text that a terminal would interpret."""
    return [character for character in text if not character.isprintable() and character != "\n"]


def test_no_argument_causes_control_characters_in_the_output_or_a_traceback(
    plain_site, terminal, monkeypatch
):
    """For each argument and option of each command, one at a time; every run ends with one of the four exit codes."""
    for name, value in plain_site.operator.environ.items():
        monkeypatch.setenv(name, value)
    wrong = []
    for path, command in commands():
        behind = arguments_of(command)
        plain = ["press-01"] * len(behind)
        options = [p.opts[0] for p in command.params if isinstance(p, click.Option) and not p.is_flag]
        for text in ARGUMENTS:
            tries = [[*minimal_call(path, command), option, text, "--", *plain] for option in options]
            tries += [
                [*minimal_call(path, command), "--", *plain[:index], text, *plain[index + 1 :]]
                for index in range(len(behind))
            ]
            for arguments in tries:
                code, printed = terminal.run(arguments)
                if code not in {0, 1, 2, 3} or control_characters(printed) or "Traceback" in printed:
                    wrong.append((arguments, code, printed[-300:]))

    assert wrong == []
    assert terminal.count > 300


class HostileServer(ThreadingHTTPServer):
    """Answers every request of the admin API with a valid shape and hostile text in every string field."""

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
            # Otherwise the stream would be followed for ever.
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
            # One page only: otherwise there would be no last one.
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
        """Log nothing."""


@pytest.fixture(params=[False, True], ids=["answers", "errors"])
def hostile_server(request, monkeypatch, tmp_path):
    """Yield the URL of a malicious Server, and the credential store for an operator's session there."""
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


def test_no_server_can_send_control_characters_to_the_terminal(hostile_server, terminal, monkeypatch):
    """With every command, as a table, as fields and as JSON; nor can a Server's text start a new line."""
    monkeypatch.setattr("lyftdata.cli.worker_watch._FOLLOW_AGAIN_AFTER_S", 0)
    url, credentials = hostile_server
    wrong, printed = [], ""
    for path, command in commands():
        forms = [[], *([["--json"]] if any("--json" in p.opts for p in command.params) else [])]
        for form, piped in itertools.product(forms, (True, False)):
            if path in {("audit", "export"), ("audit", "proof")} and piped:
                # This output is for programs and is passed on verbatim.
                continue
            arguments = [
                *minimal_call(path, command),
                *form,
                "--",
                *["press-01"] * len(arguments_of(command)),
            ]
            credentials.store(url, Secret("session"))
            code, text = terminal.run(arguments, piped=piped)
            printed += text
            if (
                code not in {0, 1, 2, 3}
                or control_characters(text)
                or re.search(r"^Worker evil-01", text, re.MULTILINE)
            ):
                wrong.append((arguments, piped, code, text[-300:]))

    assert wrong == []
    assert printed.count("pwned") > 20
