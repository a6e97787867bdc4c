"""
Starts `python -m lyftdata`, or a test module that patches it first, without importing everything each time.

Nine tenths of the cost of a start are imports, the same ones each time. Each test process has a fork server that imports
them once, and forks for each program that a test starts. A forked program is like any other: a child of the test
process with its own PID, environment, directory, streams and session; only `/proc/PID/cmdline` and
`/proc/PID/environ` are not its own. A program is started as a new interpreter instead if the
command is a different one, if its environment has a variable that an interpreter or a library reads when it starts, or if
`LYFTDATA_TEST_FRESH` is set: by hand for everything, or by the fixture `fresh_programs` for what one test starts.

Forked Servers share what each would compute at its start with the same result, and hash passwords at Argon2's lowest
costs (`tests/shared_starts.py`). A Server started as a new interpreter does neither.
"""

import atexit
import ctypes
import functools
import gc
import importlib
import json
import os
import pkgutil
import resource
import runpy
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.answered_refusals import FILE_VARIABLE, recorder_of_forked_servers

import lyftdata

_ROOT = Path(__file__).parents[1]
_INTERPRETER = (sys.executable, "-m")
_IN_NAMESPACE = ("ip", "netns", "exec")
# A namespace with its own files there also needs mounts, which are left to `ip netns exec`.
_FILES_OF_NAMESPACES = Path("/etc/netns")
_CLONE_NEWNET = 0x40000000
# The same for every program, so these variables do not prevent a fork.
_ENVIRON = {"PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1"}
# Variables that measure the test run; tests do not set them for their programs.
_OF_THE_RUN = (FILE_VARIABLE, "COVERAGE_PROCESS_CONFIG")
# Read when an interpreter starts, or when a library is loaded.
_READ_AT_START = ("LD_", "PYTHON", "LANG", "LC_", "OPENSSL_", "GLIBC_", "MALLOC_")
_MAX_MESSAGE_BYTES = 200_000
_PR_SET_CHILD_SUBREAPER = 36

# Imported when the first program of a kind is started: the parts of `lyftdata` that it may need, and late imports of libraries.
_NOT_OF_A_PROGRAM = {"__main__", "pytest_plugin", "testing", "verify"}
_PROGRAM = {"cli", "core", "worker"}
_HTTP_CLIENT = ("anyio._backends._asyncio", "encodings.idna", "httpcore2", "h11", "stringprep", "truststore")
_SERVER = (
    "psycopg",
    "sqlalchemy.dialects.postgresql.psycopg",
    "sqlalchemy.dialects.sqlite.pysqlite",
    "uvicorn.lifespan.off",
    "uvicorn.lifespan.on",
    "uvicorn.loops.uvloop",
    "uvicorn.protocols.http.httptools_impl",
    "uvloop",
    "zxcvbn",
)


def start(command: Sequence[str], *, env: Mapping[str, str], **options: Any) -> "subprocess.Popen[Any]":
    """
    Start a program, forked if possible.

    Args:
        command: The program and its arguments.
        env: Its whole environment.
        options: For `subprocess.Popen`.
    """
    _, program = _network_and_program(command)
    if not _is_known(program):
        return subprocess.Popen(command, env=dict(env), **options)
    if not _can_be_forked(env):
        # So that the test modules are found.
        path = {"PYTHONPATH": str(_ROOT)} if program[2].startswith("tests.") else {}
        return subprocess.Popen(command, env=path | dict(env), **options)
    return _Forked(command, env=dict(env), **options)


def run(
    command: Sequence[str], *, stdin: str, timeout_s: float, **options: Any
) -> subprocess.CompletedProcess[str]:
    """Run a program to its end, started as by `start`; return its output."""
    pipe = subprocess.PIPE
    with start(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True, **options) as process:
        try:
            out, err = process.communicate(stdin, timeout=timeout_s)
        except BaseException:
            process.kill()
            raise
    return subprocess.CompletedProcess(command, process.returncode, out, err)


def _network_and_program(command: Sequence[str]) -> tuple[str | None, tuple[str, ...]]:
    """Return the network namespace in which `ip netns exec` would run a command (None for this one), and the command."""
    if tuple(command[:3]) != _IN_NAMESPACE or (_FILES_OF_NAMESPACES / command[3]).exists():
        return None, tuple(command)
    return command[3], tuple(command[4:])


def _is_known(program: Sequence[str]) -> bool:
    return tuple(program[:2]) == _INTERPRETER and program[2].partition(".")[0] in ("lyftdata", "tests")


def _can_be_forked(env: Mapping[str, str]) -> bool:
    read_at_start = {name for name in env if name.startswith(_READ_AT_START)} - _ENVIRON.keys()
    return sys.platform == "linux" and not read_at_start and "LYFTDATA_TEST_FRESH" not in os.environ


class _Forked(subprocess.Popen[Any]):
    """A forked program that `subprocess` treats as if it had started it."""

    def _execute_child(  # as `subprocess` calls it
        self, args, _executable, _preexec_fn, _close_fds, _pass_fds, cwd, env, _startupinfo, _creationflags, _shell,
        p2cread, p2cwrite, c2pread, c2pwrite, errread, errwrite, *_privileges,
    ) -> None:  # fmt: skip
        streams = [own if given == -1 else given for own, given in enumerate((p2cread, c2pwrite, errwrite))]
        try:
            self.pid = _fork(args, env, str(cwd or Path.cwd()), streams)
            self._child_created = True
        finally:
            self._close_pipe_fds(p2cread, p2cwrite, c2pread, c2pwrite, errread, errwrite)  # type: ignore[attr-defined]


class _ForkServer:
    """The test process's handle of the process that has imported everything."""

    def __init__(self) -> None:
        self._line, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.prefork"],
                cwd=_ROOT,
                env=_ENVIRON | {name: os.environ[name] for name in _OF_THE_RUN if name in os.environ},
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                start_new_session=True,
            )

    def fork(self, command: Sequence[str], env: Mapping[str, str], cwd: str, streams: list[int]) -> int:
        """Start a program; return its PID."""
        network, program = _network_and_program(command)
        request = {
            "network": network,
            "module": program[2],
            "arguments": program[3:],
            "environ": dict(env),
            "cwd": cwd,
            "umask": _umask(),
            "files": resource.getrlimit(resource.RLIMIT_NOFILE),
        }
        # A forked process loses its parent immediately, and is adopted by the nearest subreaper: this process.
        _adopt_orphans(adopt=True)
        try:
            socket.send_fds(self._line, [json.dumps(request).encode()], streams)
            return int(self._line.recv(_MAX_MESSAGE_BYTES))
        finally:
            _adopt_orphans(adopt=False)

    def close(self) -> None:
        """End it; the programs that it has started keep running."""
        self._line.close()
        self._process.wait(60)


_LOCK = threading.Lock()
_running: list[_ForkServer] = []


def _fork(command: Sequence[str], env: Mapping[str, str], cwd: str, streams: list[int]) -> int:
    """Fork one program at a time; an interrupted request leaves no answer for the next one to read."""
    with _LOCK:
        if not _running:
            _running.append(_ForkServer())
        try:
            return _running[0].fork(command, env, cwd, streams)
        except BaseException:
            _running.pop().close()
            raise


@atexit.register
def _close() -> None:
    while _running:
        _running.pop().close()


def _adopt_orphans(*, adopt: bool) -> None:
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, int(adopt), 0, 0, 0)


def _umask() -> int:
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    [line] = [line for line in status.splitlines() if line.startswith("Umask:")]
    return int(line.split()[1], 8)


def _serve(line: socket.socket) -> dict[str, Any] | None:
    """Fork for each request; return the request in the forked process, and None in this one after the last request."""
    recorder = recorder_of_forked_servers()
    while True:
        message, streams, _, _ = socket.recv_fds(line, _MAX_MESSAGE_BYTES, 3)
        if not message:
            return None
        request = json.loads(message)
        _import_for(request["arguments"])
        if recorder is not None:
            recorder.install()
        # Kept out of garbage collections, which would touch and so copy all of these pages in each program.
        gc.freeze()
        reading, writing = os.pipe()
        between = os.fork()
        if between == 0:
            parent = os.getpid()
            program = os.fork()
            if program:
                os.write(writing, str(program).encode())
                os._exit(0)
            while os.getppid() == parent:
                time.sleep(0.0002)
            _set_up(request, streams)
            return dict(request)
        os.close(writing)
        # Once this one has ended, the test process has adopted its child.
        os.waitpid(between, 0)
        line.send(os.read(reading, 100))
        for number in (reading, *streams):
            os.close(number)


def _import_for(arguments: Sequence[str]) -> None:
    """Import what this kind of program needs; what is already imported costs nothing."""
    is_server = list(arguments[:2]) == ["run", "server"]
    for module in (*_HTTP_CLIENT, *(_SERVER if is_server else ())):
        importlib.import_module(module)
    parts = {part.name for part in pkgutil.iter_modules(lyftdata.__path__)} - _NOT_OF_A_PROGRAM
    for part in sorted(parts if is_server else parts & _PROGRAM):
        module = importlib.import_module(f"lyftdata.{part}")
        for found in pkgutil.walk_packages(getattr(module, "__path__", ()), f"lyftdata.{part}."):
            try:
                importlib.import_module(found.name)
            except ModuleNotFoundError as error:
                # An adapter for a library that is not installed; no program needs it.
                if (error.name or "lyftdata").partition(".")[0] == "lyftdata":
                    raise
    if is_server:
        _prepare_servers()


@functools.cache
def _prepare_servers() -> None:
    """Prepare what each Server does at its start."""
    # Here, because it imports the Server, which most programs do not need.
    from tests.shared_starts import prepare_starts

    prepare_starts(setattr)


def _set_up(request: Mapping[str, Any], streams: Sequence[int]) -> None:
    """Set up this process for the program that it becomes."""
    os.setsid()
    if request["network"] is not None:
        _enter_network(request["network"])
    for own, given in enumerate(streams):
        os.dup2(given, own)
    os.closerange(len(streams), os.sysconf("SC_OPEN_MAX"))
    resource.setrlimit(resource.RLIMIT_NOFILE, tuple(request["files"]))
    os.umask(request["umask"])
    os.chdir(request["cwd"])
    # Set by an interpreter that starts without a locale.
    coerced = {name: os.environ[name] for name in ("LC_CTYPE",) if name in os.environ}
    os.environ.clear()
    os.environ.update(coerced | request["environ"])
    time.tzset()
    sys.path[0] = request["cwd"]


def _enter_network(name: str) -> None:
    descriptor = os.open(f"/run/netns/{name}", os.O_RDONLY)
    if ctypes.CDLL(None, use_errno=True).setns(descriptor, _CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), f"cannot enter the network namespace {name}")
    os.close(descriptor)


def _run(module: str, arguments: Sequence[str]) -> None:
    """Run the program in this process; return only if the interpreter must end it."""
    sys.argv = ["-m", *arguments]
    code = 0
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as end:
        if not isinstance(end.code, int | None):
            raise
        code = end.code or 0
    _end(code)


def _end(code: int) -> None:
    """
    End this process like an interpreter, except that nothing is freed.

    Freeing touches every object that was imported before the fork, so the kernel copies each of their pages: four fifths of
    a short command's CPU time.
    """
    # Waits for non-daemon threads.
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    try:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
    except OSError:
        # The interpreter reports it and has its own exit code for it.
        sys.exit(code)
    os._exit(code)


if __name__ == "__main__":
    with socket.socket(fileno=os.dup(0)) as _line:
        _program = _serve(_line)
        if _program is not None:
            # Its descriptor is already closed.
            _line.detach()
    if _program is not None:
        _run(_program["module"], _program["arguments"])
