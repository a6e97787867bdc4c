"""A COMMAND under a Worker's identity: what it is given, what it cannot read, and who ends it; with real processes."""

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

# Says who it is and what it was given, then waits.
REPORT = """
import json, os, sys, time
seen = dict(os.environ) | {"pid": os.getpid()}
open(sys.argv[1] + ".new", "w").write(json.dumps(seen))
os.rename(sys.argv[1] + ".new", sys.argv[1])
time.sleep(600)
"""

# Writes down the signals that it hears; ends at SIGTERM and SIGINT with a code of its own.
LISTEN = """
import os, signal, sys
def heard(number, _):
    with open(sys.argv[1], "a") as out:
        out.write(signal.Signals(number).name + "\\n")
    if number in (signal.SIGTERM, signal.SIGINT):
        os._exit(40 + number)
for name in "HUP QUIT USR1 USR2 WINCH TERM INT".split():
    signal.signal(getattr(signal, "SIG" + name), heard)
open(sys.argv[1], "a").write("ready\\n")
while True:
    signal.pause()
"""

# Reads its token file without a pause; fails at anything but a whole token.
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
    """Start a Worker with a Python program as its COMMAND; return it and the file that the program writes."""
    out = host.home / "out"
    command = (sys.executable, "-c", program, str(out), *given)
    return host.start("run", "worker", *flags, "--", *command, **environ), out


@pytest.fixture
def short_path():
    """Return a private directory in which a socket's path is short enough, unlike in `tmp_path`."""
    with tempfile.TemporaryDirectory() as made:
        yield Path(made)


def lines(file):
    """Return the whole lines of a file that may not be there yet."""
    return file.read_text().split("\n")[:-1] if file.exists() else []


def wait_for_lines(file, count):
    """Wait until a file has that many lines."""
    until(lambda: len(lines(file)) >= count, f"{count} lines in {file.name}")


def report_of(out):
    """Wait for what SAY has written."""
    until(out.exists, "the COMMAND's start")
    return json.loads(out.read_text())


def verify(site, token):
    """Return the status with which the Server takes a token."""
    headers = {"Authorization": f"Bearer {token}"}
    return httpx2.get(f"{site.url}/auth/verify", headers=headers, trust_env=False, timeout=180).status_code


def at_socket(path, target):
    """Ask the token socket; return status and JSON."""
    with httpx2.Client(transport=httpx2.HTTPTransport(uds=path), trust_env=False, timeout=180) as client:
        answer = client.get(f"http://localhost{target}")
        return answer.status_code, answer.json()


# --- what it is given ---------------------------------------------------------------------------------------


def test_it_is_given_a_token_by_file_and_by_socket(site, host):
    """The Server takes both; the file has mode 0600 in a directory of 0700, and is gone with the agent."""
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


def test_a_token_for_somebody_else_is_the_servers_decision(host):
    """A foreign audience: the Server's own refusal reaches the COMMAND as JSON, and its token still serves."""
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
    """Under an agent `lyftdata token` needs neither key nor settings; `--audience` passes the refusal on."""
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
def test_none_of_the_workers_secrets_can_be_read_from_it(site, host):
    """Neither in /proc/PID/environ nor in an open file: no key, and no path to where the identity lies."""
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
def test_what_a_killed_agent_has_left_goes_with_the_next_start(site, host, short_path):
    """SIGKILL leaves a token in the temporary directory until an agent of this user starts there again; a live one keeps its own."""
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


def test_the_token_file_is_whole_through_renewals(site, host):
    """A COMMAND that reads without a pause sees whole tokens only, however often they are renewed."""
    agent, out = run(host, READ)
    until(lambda: lines(out), "the first token")
    for number in range(12):
        # The Server has a connected Worker renew its token when what it says is no longer true.
        site.operator.done("workers", "rename", "press-01", f"press {number}")
        wait_for_lines(out, number + 2)
    out.with_suffix(".stop").touch()

    assert agent.exit_code() == 0, agent.log


# --- signals and ends ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("last", "code"), [("TERM", 55), ("INT", 42)])
def test_signals_are_passed_on_and_the_exit_code_comes_back(host, last, code):
    """The COMMAND hears each signal once; the one that ends it is the one that was sent."""
    agent, out = run(host, LISTEN)
    until(lambda: lines(out), "the COMMAND's start")
    for name in ("HUP", "USR1", "USR2", "WINCH", "QUIT", last):
        received = len(lines(out))
        agent.process.send_signal(getattr(signal, f"SIG{name}"))
        wait_for_lines(out, received + 1)

    assert agent.exit_code() == code
    assert lines(out) == ["ready", *(f"SIG{name}" for name in ("HUP", "USR1", "USR2", "WINCH", "QUIT", last))]


@pytest.mark.parametrize(("name", "code"), [("TERM", 0), ("HUP", 128 + signal.SIGHUP)])
def test_without_a_command_signals_end_the_agent_cleanly(site, host, name, code):
    """It signs off; by a signal that is no ordinary way to end an agent it ends as any program would."""
    agent = host.start("run", "worker")
    agent.wait_for("online")
    agent.process.send_signal(signal.SIGUSR1)
    agent.process.send_signal(getattr(signal, f"SIG{name}"))

    assert agent.exit_code() == code
    assert site.status("press-01") == "offline"


def test_input_output_and_the_mask_are_the_commands_own(host):
    """What is piped in comes out, byte for byte, with the log elsewhere; files get the mode that was asked for."""
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
def test_it_does_not_work_on_when_its_agent_is_killed(site, host):
    """Nobody could stop it any more: the system ends it with the agent."""
    agent, out = run(host, REPORT)
    pid = report_of(out)["pid"]
    agent.kill()

    until(lambda: not Path(f"/proc/{pid}").exists(), "the end of the COMMAND")


def test_its_grace_is_a_setting(host):
    """With `--stop-grace 0s` what ignores SIGTERM is killed at once."""
    program = "import signal, sys, time; signal.signal(15, signal.SIG_IGN); open(sys.argv[1], 'w').write('\\n'); time.sleep(600)"
    agent, out = run(host, program, "--stop-grace", "0s")
    until(lambda: lines(out), "the COMMAND's start")

    assert agent.terminate() == 128 + signal.SIGKILL
    assert agent.wait_for("command_killed")["grace_s"] == 0


def test_disabled_it_is_not_started_again_until_it_is_enabled(site, host):
    """`--restart always`: started again after each end, not while the Server says no, and again once it lets it in."""
    program = "import sys; open(sys.argv[1], 'a').write('run\\n')"
    agent, out = run(host, program, LYFTDATA_RESTART="always")
    until(lambda: len(lines(out)) >= 3, "two restarts")
    agent.wait_for("command_restarting", count=2)

    site.operator.done("workers", "disable", "press-01", "--yes")
    # Before it asks again it has stopped what ran when it was refused.
    agent.wait_for("refused", count=2)
    runs = len(lines(out))
    agent.wait_for("refused", count=3)
    assert len(lines(out)) == runs

    site.operator.done("workers", "enable", "press-01")
    until(lambda: len(lines(out)) > runs, "a run once it is let in")
    agent.terminate()


def test_disabled_there_is_no_token_to_read(site, host):
    """The file is withdrawn with the identity, and there again, at the same place, when it is back."""
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
    """Return whether this machine lets us have a PID namespace."""
    if shutil.which("unshare") is None:
        return False
    probe = ["unshare", "--pid", "--fork", "--mount-proc", "true"]
    return subprocess.run(probe, capture_output=True, check=False).returncode == 0


@pytest.mark.skipif(not can_unshare(), reason="needs the right to make a PID namespace")
def test_as_pid_1_it_reaps_orphans_and_passes_signals_on(host):
    """In a PID namespace of its own: no orphan stays a zombie, the COMMAND hears SIGTERM, its exit code comes back."""
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


def test_systemd_is_told(site, host, tmp_path, monkeypatch):
    """READY=1 when the Worker is online and not before; a refusal and an end are told; the watchdog is kept."""
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
    """A terminal and the program in it."""

    def __init__(self, argv, host):
        self.pid, self.descriptor = pty.fork()
        if self.pid == 0:
            os.chdir(host.home)
            os.execvpe(argv[0], argv, host.environ | {"PS1": "$ ", "TERM": "dumb"})
        self.text = ""

    def type(self, text):
        """Press keys."""
        os.write(self.descriptor, text.encode())

    def shows(self, text):
        """Wait until the terminal shows a text after what was waited for before."""
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
        """Wait for the end."""
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
        """End what is still there."""
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        os.close(self.descriptor)


@pytest.fixture
def screen(host):
    """Return a function that starts a program in a terminal of its own."""
    opened = []

    def start(*argv):
        opened.append(Screen(argv, host))
        return opened[-1]

    yield start
    for each in opened:
        each.close()


# A shell, which SIGINT ends wherever it is: in Python's `input()` there is an instant at which it is not noticed.
ECHO = 'echo COMMAND is here; while read -r line; do echo "you said $line"; done'
WORKER = (sys.executable, "-m", "lyftdata", "run", "worker", "--log-level", "error", "--", "sh", "-c", ECHO)


def test_a_terminal_stays_usable(screen):
    """The COMMAND reads what is typed, and Ctrl-C is for it alone; the exit code is that of SIGINT."""
    shown = screen(*WORKER)
    shown.shows("COMMAND is here")
    shown.type("hello\n")
    shown.shows("you said hello")
    shown.type("\x03")

    assert shown.exit_code() == 128 + signal.SIGINT


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash for its job control")
def test_a_shell_can_suspend_it_and_continue_it(screen):
    """Ctrl-Z gives the shell its prompt back, `fg` the COMMAND its terminal, and the shell has it again at the end."""
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
def test_in_a_pipeline_it_gets_the_terminal_when_it_asks_for_it(screen):
    """With its output piped elsewhere the COMMAND does not take the terminal, and has it as soon as it reads."""
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
