"""A COMMAND under a Worker's identity: what it gets, what it cannot read, and how it ends; with real processes."""

import json
import os
import pty
import select
import shlex
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import httpx2
import pytest
from tests.processes import WITHIN_S, until

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has /proc and namespaces")

# Writes its PID and its environment to a file, then waits.
REPORT = """
import json, os, sys, time
seen = dict(os.environ) | {"pid": os.getpid()}
open(sys.argv[1] + ".new", "w").write(json.dumps(seen))
os.rename(sys.argv[1] + ".new", sys.argv[1])
time.sleep(600)
"""

# Records the signals that it receives; exits with its own code at SIGTERM and SIGINT.
LISTEN = """
import os, signal, sys
def record(number, _):
    with open(sys.argv[1], "a") as out:
        out.write(signal.Signals(number).name + "\\n")
    if number in (signal.SIGTERM, signal.SIGINT):
        os._exit(40 + number)
for name in "HUP QUIT USR1 USR2 WINCH TERM INT".split():
    signal.signal(getattr(signal, "SIG" + name), record)
open(sys.argv[1], "a").write("ready\\n")
while True:
    signal.pause()
"""

# Reads its token file in a tight loop; fails if it reads anything but a whole token.
READ = """
import os, re, sys
seen = set()
whole = re.compile(r"eyJ[\\w-]+\\.[\\w-]+\\.[\\w-]{86}")
while not os.path.exists(sys.argv[1] + ".stop"):
    text = open(os.environ["LYFTDATA_WORKER_TOKEN_FILE"]).read()
    if not whole.fullmatch(text):
        sys.exit(f"not whole: {text[:20]!r}")
    if text not in seen:
        seen.add(text)
        open(sys.argv[1], "a").write(f"{len(text)}\\n")
"""


@pytest.fixture
def site(shared_site):
    """Return the Server that the journeys of this file share."""
    return shared_site


@pytest.fixture
def host(site):
    """Return the host of a Worker with a key."""
    key = site.operator.done("workers", "add", "press-01", "--id", "press-01", "--issue-key").strip()
    return site.worker_host("press-01", LYFTDATA_WORKER_ID="press-01", LYFTDATA_WORKER_API_KEY=key)


def run(host, program, *flags, given=(), **environ):
    """Start a Worker with a Python program as its COMMAND; return it and the program's output file."""
    out = host.home / "out"
    command = (sys.executable, "-c", program, str(out), *given)
    return host.start("run", "worker", *flags, "--", *command, **environ), out


@pytest.fixture
def short_path():
    """Return a private directory whose path is short enough for a socket, unlike `tmp_path`."""
    with tempfile.TemporaryDirectory() as made:
        yield Path(made)


def lines(file):
    """Return the complete lines of a file that may not exist yet."""
    return file.read_text().split("\n")[:-1] if file.exists() else []


def wait_for_lines(file, count):
    """Wait until a file has this many lines."""
    until(lambda: len(lines(file)) >= count, f"{count} lines in {file.name}")


def report_of(out):
    """Wait for the output of REPORT; return it."""
    until(out.exists, "the COMMAND's start")
    return json.loads(out.read_text())


def verify(site, token):
    """Return the status of /auth/verify for a token."""
    headers = {"Authorization": f"Bearer {token}"}
    return httpx2.get(f"{site.url}/auth/verify", headers=headers, trust_env=False, timeout=180).status_code


def at_socket(path, target):
    """Send a request to the token socket; return status and JSON."""
    with httpx2.Client(transport=httpx2.HTTPTransport(uds=path), trust_env=False, timeout=180) as client:
        answer = client.get(f"http://localhost{target}")
        return answer.status_code, answer.json()


# --- what it gets -------------------------------------------------------------------------------------------


def test_a_command_gets_a_token_by_file_and_by_socket(site, host):
    """The Server accepts it; the file has mode 0600 in a directory with 0700, and is removed when the agent ends."""
    agent, out = run(host, REPORT)
    seen = report_of(out)
    file, path = Path(seen["LYFTDATA_WORKER_TOKEN_FILE"]), seen["LYFTDATA_WORKER_TOKEN_SOCKET"]

    status, answer = at_socket(path, "/token")
    assert status == 200
    assert answer["access_token"] == file.read_text()
    assert verify(site, answer["access_token"]) == 204
    assert answer["token_type"] == "Bearer"
    assert 0 < answer["expires_in"] <= 900
    assert stat.S_IMODE(file.stat().st_mode) == stat.S_IMODE(Path(path).stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    agent.terminate()
    assert not file.parent.exists()


def test_the_server_decides_whether_a_command_gets_a_token_for_another_audience(host):
    """Its refusal reaches the COMMAND as JSON, and the socket goes on serving tokens."""
    agent, out = run(host, REPORT)
    path = report_of(out)["LYFTDATA_WORKER_TOKEN_SOCKET"]

    status, answer = at_socket(path, "/token?audience=https://billing.example.com")

    assert (status, answer["error"]) == (400, "invalid_target")
    assert answer["error_description"]
    status, answer = at_socket(path, f"/token?audience={host.environ['LYFTDATA_URL']}")
    assert status == 200
    assert at_socket(path, "/token")[0] == 200
    assert agent.alive()


def test_lyftdata_token_asks_the_agent(site, host):
    """Under an agent it needs neither a key nor settings; a refusal of `--audience` is passed on."""
    _, out = run(host, REPORT)
    path = report_of(out)["LYFTDATA_WORKER_TOKEN_SOCKET"]
    bare = site.worker_host("elsewhere", LYFTDATA_WORKER_TOKEN_SOCKET=path)

    assert verify(site, bare.done("token").strip()) == 204
    assert bare.json("token")["expires_in"] > 0
    for refused in (bare, host):
        result = refused.run("token", "--audience", "https://billing.example.com")
        assert result.returncode == 1
        assert result.stdout == ""
        assert "may have none for" in result.stderr


@linux_only
def test_a_command_cannot_read_the_workers_secrets(site, host):
    """Neither its environment nor an inherited file descriptor has a key or the path of the identity."""
    host.environ["LYFTDATA_AUTO_ENROLLMENT_KEY_FILE"] = "/none/there"
    _, out = run(host, REPORT, NOTIFY_SOCKET="/none", WATCHDOG_USEC="9")
    pid = report_of(out)["pid"]
    environ = Path(f"/proc/{pid}/environ").read_text()
    opened = {int(fd.name) for fd in Path(f"/proc/{pid}/fd").iterdir()}

    assert host.environ["LYFTDATA_WORKER_API_KEY"] not in environ
    assert str(host.home / "jobs") not in environ
    names = {line.partition("=")[0] for line in environ.split("\0")}
    assert {name for name in names if name.startswith("LYFTDATA_")} == {
        "LYFTDATA_URL",
        "LYFTDATA_WORKER_ID",
        "LYFTDATA_WORKER_NAME",
        "LYFTDATA_WORKER_TOKEN_FILE",
        "LYFTDATA_WORKER_TOKEN_SOCKET",
    }
    assert not names & {"NOTIFY_SOCKET", "WATCHDOG_USEC"}
    assert opened == {0, 1, 2}


@linux_only
def test_the_next_start_removes_the_token_of_a_killed_agent(site, host, short_path):
    """SIGKILL leaves it in the runtime directory until an agent of this user starts again; a running agent's token stays."""
    place = short_path
    given = {"XDG_RUNTIME_DIR": str(place)}
    agent, out = run(host, REPORT, **given)
    report_of(out)
    (left,) = place.iterdir()
    assert (left / "token").exists()
    agent.kill()
    assert left.exists()
    out.unlink()

    second, out = run(host, REPORT, **given)
    report_of(out)
    (living,) = place.iterdir()
    assert living != left
    assert (living / "token").exists()
    second.terminate()
    assert list(place.iterdir()) == []


def test_the_token_file_always_holds_a_whole_token(site, host):
    """However often the token is renewed while a COMMAND reads the file."""
    agent, out = run(host, READ)
    until(lambda: lines(out), "the first token")
    for number in range(12):
        # The Server makes a connected Worker renew its token when a claim in it has changed.
        site.operator.done("workers", "rename", "press-01", f"press {number}")
        wait_for_lines(out, number + 2)
    out.with_suffix(".stop").touch()

    assert agent.exit_code() == 0, agent.log


# --- signals and exits --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("last", "code"), [("TERM", 55), ("INT", 42)])
def test_signals_are_passed_on_to_the_command_and_its_exit_code_is_returned(host, last, code):
    """The COMMAND receives each signal exactly once, in order."""
    agent, out = run(host, LISTEN)
    until(lambda: lines(out), "the COMMAND's start")
    for name in ("HUP", "USR1", "USR2", "WINCH", "QUIT", last):
        received = len(lines(out))
        agent.process.send_signal(getattr(signal, f"SIG{name}"))
        wait_for_lines(out, received + 1)

    assert agent.exit_code() == code
    assert lines(out) == ["ready", *(f"SIG{name}" for name in ("HUP", "USR1", "USR2", "WINCH", "QUIT", last))]


@pytest.mark.parametrize(("name", "code"), [("TERM", 0), ("HUP", 128 + signal.SIGHUP)])
def test_an_agent_without_a_command_signs_off_on_a_signal(site, host, name, code):
    """It exits 0 on SIGTERM, and on SIGHUP with the exit code of a program that the signal ends."""
    agent = host.start("run", "worker")
    agent.wait_for("online")
    agent.process.send_signal(signal.SIGUSR1)
    agent.process.send_signal(getattr(signal, f"SIG{name}"))

    assert agent.exit_code() == code
    assert site.status("press-01") == "offline"


def test_stdin_stdout_and_the_umask_are_passed_through_to_the_command(host):
    """Piped bytes come out unchanged, without log lines among them, and the umask is the caller's."""
    program = "import os, sys; sys.stdout.buffer.write(sys.stdin.buffer.read()); sys.exit(os.umask(0) & 0o7)"
    sent = bytes(range(256)) * 1000
    done = subprocess.run(
        [sys.executable, "-m", "lyftdata", "run", "worker", "--", sys.executable, "-c", program],
        env=host.environ,
        cwd=host.home,
        input=sent,
        capture_output=True,
        timeout=180,
        check=False,
        umask=0o022,
    )

    assert done.stdout == sent
    assert done.returncode == 0o2


@linux_only
def test_a_command_ends_when_its_agent_is_killed(site, host):
    """Nothing could stop it any more, so the kernel ends it with the agent."""
    agent, out = run(host, REPORT)
    pid = report_of(out)["pid"]
    agent.kill()

    until(lambda: not Path(f"/proc/{pid}").exists(), "the end of the COMMAND")


def test_the_grace_period_of_a_command_can_be_set(host):
    """With `--stop-grace 0s` a COMMAND that ignores SIGTERM is killed at once."""
    program = "import signal, sys, time; signal.signal(15, signal.SIG_IGN); open(sys.argv[1], 'w').write('\\n'); time.sleep(600)"
    agent, out = run(host, program, "--stop-grace", "0s")
    until(lambda: lines(out), "the COMMAND's start")

    assert agent.terminate() == 128 + signal.SIGKILL
    assert agent.wait_for("command_killed")["grace_s"] == 0


def test_a_command_is_not_restarted_while_its_worker_is_disabled(site, host):
    """With LYFTDATA_RESTART=always it is restarted after each exit, and again once the Worker is enabled."""
    program = "import sys; open(sys.argv[1], 'a').write('run\\n')"
    agent, out = run(host, program, LYFTDATA_RESTART="always")
    until(lambda: len(lines(out)) >= 3, "two restarts")
    agent.wait_for("command_restarting", count=2)

    site.operator.done("workers", "disable", "press-01", "--yes")
    # Before the agent asks again it has stopped the COMMAND that ran when it was refused.
    agent.wait_for("refused", count=2)
    runs = len(lines(out))
    agent.wait_for("refused", count=3)
    assert len(lines(out)) == runs

    site.operator.done("workers", "enable", "press-01")
    until(lambda: len(lines(out)) > runs, "a run once it is let in")
    agent.terminate()


def test_a_disabled_workers_token_file_is_removed(site, host):
    """When the Worker is enabled the file is back at the same path."""
    agent, out = run(host, REPORT)
    file = Path(report_of(out)["LYFTDATA_WORKER_TOKEN_FILE"])
    site.operator.done("workers", "disable", "press-01", "--yes")
    until(lambda: not file.exists(), "the withdrawal")
    out.unlink()

    site.operator.done("workers", "enable", "press-01")

    assert report_of(out)["LYFTDATA_WORKER_TOKEN_FILE"] == str(file)
    assert verify(site, file.read_text()) == 204
    agent.terminate()


# --- as PID 1, under systemd, on a terminal -----------------------------------------------------------------


def can_unshare():
    """Return whether we may create a PID namespace on this machine."""
    if shutil.which("unshare") is None:
        return False
    probe = ["unshare", "--pid", "--fork", "--mount-proc", "true"]
    return subprocess.run(probe, capture_output=True, check=False).returncode == 0


@pytest.mark.skipif(not can_unshare(), reason="needs the right to make a PID namespace")
def test_an_agent_as_pid_1_reaps_orphans_and_passes_signals_on(host):
    """In its own PID namespace: no orphan stays a zombie, the COMMAND receives SIGTERM, and its exit code is returned."""
    program = (
        "import os, pathlib, signal, subprocess, sys, time\n"
        "assert os.getppid() == 1\n"
        "signal.signal(signal.SIGTERM, lambda *_: os._exit(9))\n"
        "for _ in range(20): subprocess.run(['sh', '-c', ': & : & : & : & :'])\n"
        "def state(pid):\n"
        "    try: return pathlib.Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()[0]\n"
        "    except OSError: return ''\n"
        "deadline = time.monotonic() + 120\n"
        "while any(state(pid) == 'Z' for pid in os.listdir('/proc') if pid.isdigit()):\n"
        "    assert time.monotonic() < deadline\n"
        "    time.sleep(0.02)\n"
        "open(sys.argv[1], 'w').write('clean\\n')\n"
        "signal.pause()\n"
    )
    out = host.home / "out"
    log = host.home / "pid1.log"
    command = [
        sys.executable,
        "-m",
        "lyftdata",
        "run",
        "worker",
        "--",
        sys.executable,
        "-c",
        program,
        str(out),
    ]
    with log.open("wb") as stream:
        outer = subprocess.Popen(
            ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc", *command],
            env=host.environ,
            cwd=host.home,
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=stream,
        )
    try:
        until(lambda: lines(out) or outer.poll() is not None, "no zombie is left")
        assert lines(out) == ["clean"], log.read_text()
        (inner,) = Path(f"/proc/{outer.pid}/task/{outer.pid}/children").read_text().split()
        os.kill(int(inner), signal.SIGTERM)
        assert outer.wait(WITHIN_S) == 9
    finally:
        outer.kill()
        outer.wait()


def test_the_agent_notifies_systemd(site, host, tmp_path, monkeypatch):
    """READY=1 once the Worker is online, WATCHDOG=1 while it runs, a refusal as STATUS, and STOPPING=1 at its end."""
    monkeypatch.chdir(host.home)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind("notify")
        systemd.settimeout(WITHIN_S)
        agent = host.start("run", "worker", NOTIFY_SOCKET="notify", WATCHDOG_USEC="2000000")

        def notified(start):
            while True:
                text = systemd.recv(4096).decode()
                if text.startswith(start):
                    return text

        assert notified("READY=1") == "READY=1\nSTATUS=Online as press-01."
        assert notified("WATCHDOG=1")
        site.operator.done("workers", "disable", "press-01", "--yes")
        assert "reference" in notified("STATUS=Refused")
        agent.terminate()
        assert notified("STOPPING=1")


class Screen:
    """A terminal and the program that runs in it."""

    def __init__(self, argv, host):
        self.pid, self.descriptor = pty.fork()
        if self.pid == 0:
            os.chdir(host.home)
            os.execvpe(argv[0], argv, host.environ | {"PS1": "$ ", "TERM": "dumb"})
        self.text = ""

    def type(self, text):
        """Type a text."""
        os.write(self.descriptor, text.encode())

    def shows(self, text):
        """Wait until the terminal shows a text, after the last text that was waited for."""
        deadline = time.monotonic() + WITHIN_S
        while text not in self.text:
            assert time.monotonic() < deadline, f"not on the screen: {text!r}\n{self.text}"
            if select.select([self.descriptor], [], [], 0.1)[0]:
                try:
                    self.text += os.read(self.descriptor, 4096).decode(errors="replace")
                except OSError:
                    assert text in self.text, f"ended without {text!r}:\n{self.text}"
        self.text = self.text.partition(text)[2]

    def exit_code(self):
        """Wait for the program's end; return its exit code."""
        deadline = time.monotonic() + WITHIN_S
        while not (ended := os.waitpid(self.pid, os.WNOHANG))[0]:
            assert time.monotonic() < deadline, f"still runs:\n{self.text}"
            if select.select([self.descriptor], [], [], 0.05)[0]:
                try:
                    self.text += os.read(self.descriptor, 4096).decode(errors="replace")
                except OSError:
                    time.sleep(0.02)
        self.pid = 0
        return os.waitstatus_to_exitcode(ended[1])

    def close(self):
        """Kill the program if it still runs."""
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        os.close(self.descriptor)


@pytest.fixture
def screen(host):
    """Return a function that starts a program in its own terminal."""
    opened = []

    def start(*argv):
        opened.append(Screen(argv, host))
        return opened[-1]

    yield start
    for each in opened:
        each.close()


# A shell, which SIGINT always ends: Python's `input()` has an instant at which it is missed.
ECHO = 'echo COMMAND is here; while read -r line; do echo "you said $line"; done'
WORKER = (sys.executable, "-m", "lyftdata", "run", "worker", "--log-level", "error", "--", "sh", "-c", ECHO)


def test_a_command_can_use_the_terminal(screen):
    """It reads what is typed, and Ctrl-C ends it; the exit code is that of SIGINT."""
    shown = screen(*WORKER)
    shown.shows("COMMAND is here")
    shown.type("hello\n")
    shown.shows("you said hello")
    shown.type("\x03")

    assert shown.exit_code() == 128 + signal.SIGINT


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash for its job control")
def test_a_shell_can_suspend_and_continue_the_agent(screen):
    """Ctrl-Z returns to the shell's prompt, `fg` gives the COMMAND the terminal again, and at the end the shell has it."""
    shown = screen("bash", "--norc", "--noprofile", "-i")
    shown.type(f"{shlex.join(WORKER)}\n")
    shown.shows("\nCOMMAND is here")
    shown.type("one\n")
    shown.shows("you said one")
    shown.type("\x1a")
    shown.shows("Stopped")
    shown.type("echo the sh''ell is here\n")
    shown.shows("the shell is here")
    shown.type("fg\n")
    shown.shows("-- sh -c")
    shown.type("two\n")
    shown.shows("you said two")
    shown.type("\x03")
    shown.shows("^C")
    shown.shows("$ ")
    shown.type("echo it ended with $?.\n")
    shown.shows("it ended with 130.")
    shown.type("exit\n")


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash for its job control")
def test_a_command_in_a_pipeline_can_read_from_the_terminal(screen):
    """With its output piped the COMMAND does not take the terminal until it reads from it."""
    shown = screen("bash", "--norc", "--noprofile", "-i")
    shown.type(f"{shlex.join(WORKER)} | cat\n")
    shown.shows("\nCOMMAND is here")
    shown.type("one\n")
    shown.shows("you said one")
    shown.type("\x03")
    shown.shows("^C")
    shown.shows("$ ")
    shown.type("echo it ended with ${PIPESTATUS[0]}.\n")
    shown.shows("it ended with 130.")
    shown.type("exit\n")
