"""Processes: how the COMMAND starts, hears signals, ends with all it started, and is started again."""

import asyncio
import functools
import json
import os
import signal
import sys
from pathlib import Path

import pytest
from tests.processes import until

from lyftdata.worker.process.command import CommandError, CommandProcess, check_command, without_secrets
from lyftdata.worker.process.reaper import Reaper
from lyftdata.worker.process.restart import RestartPolicy
from lyftdata.worker.process.supervisor import CommandSupervisor

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells who was left behind")

# Starts a process in its group, one in a session of its own, and one that loses its parent; all ignore SIGTERM.
FAMILY = """
import os, signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
sleeper = [sys.executable, "-c", "import time; time.sleep(600)"]
pids = [os.getpid(), subprocess.Popen(sleeper).pid, subprocess.Popen(sleeper, start_new_session=True).pid]
orphan = f"import subprocess; print(subprocess.Popen({sleeper!r}, start_new_session=True, stdout=-3).pid)"
pids.append(int(subprocess.check_output([sys.executable, "-c", orphan])))
open(sys.argv[1], "w").write(" ".join(map(str, pids)) + "\\n")
if sys.argv[2] == "stay":
    time.sleep(600)
"""


@pytest.fixture
async def reaper():
    """Return the reaper of this process."""
    with Reaper() as made:
        yield made


@pytest.fixture
def start(reaper):
    """Return a function that starts a COMMAND."""
    return functools.partial(CommandProcess.start, environ=dict(os.environ), identity={}, reaper=reaper)


def python(program, *arguments):
    """Return a COMMAND."""
    return [sys.executable, "-c", program, *map(str, arguments)]


def gone(pid):
    """Return whether a process is no more, not even as a zombie."""
    return not Path(f"/proc/{pid}").exists()


@pytest.mark.parametrize(
    ("program", "code"),
    [
        ("pass", 0),
        ("raise SystemExit(7)", 7),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", 128 + signal.SIGKILL),
    ],
)
async def test_the_exit_code_is_that_of_a_shell(start, program, code):
    """0 to 255 as it is, 128 and the signal for one that died of it."""
    child = start(python(program))

    assert await child.wait() == code
    assert await child.stop() == code
    assert gone(child.pid)


async def test_what_cannot_be_started_is_named(start):
    """No such program, or one that may not be run: a CommandError with its name."""
    for command, code in ((["no-such-program"], 127), (["/etc/passwd"], 126)):
        with pytest.raises(CommandError, match=command[0]) as raised:
            start(command)
        assert raised.value.exit_code == code


@pytest.mark.parametrize(
    ("program", "code"),
    [
        ("there", None),
        ("{bin}/there", None),
        ("plain", 126),
        ("{bin}/plain", 126),
        ("folder", 127),
        ("{bin}/folder", 126),
        ("missing", 127),
        ("{bin}/missing", 127),
        ("", 127),
    ],
)
def test_a_command_is_looked_for_as_a_shell_does(tmp_path, program, code):
    """On the PATH that the COMMAND will have, or at its path: 127 for what is not there, 126 for what cannot be run."""
    for name, mode in (("there", 0o755), ("plain", 0o644)):
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(mode)
    (tmp_path / "folder").mkdir()
    command, environ = [program.format(bin=tmp_path)], {"PATH": f"/nowhere:{tmp_path}"}

    if code is None:
        check_command(command, environ)
    else:
        with pytest.raises(CommandError) as raised:
            check_command(command, environ)
        assert raised.value.exit_code == code


async def test_it_inherits_three_files_and_the_mask(start, tmp_path):
    """Standard input, output and error are the COMMAND's only open files; its mask is the one it was to have."""
    program = (
        "import json, os, sys;"
        "umask = os.umask(0);"
        "fds = [fd for fd in os.listdir('/proc/self/fd') if os.path.exists(f'/proc/self/fd/{fd}')];"
        "json.dump([sorted(fds), umask], open(sys.argv[1], 'w'))"
    )
    read_end, write_end = os.pipe()
    os.set_inheritable(write_end, True)
    child = start(python(program, tmp_path / "seen"), umask=0o027)
    await child.wait()
    await child.stop()
    os.close(read_end)
    os.close(write_end)

    fds, umask = json.loads((tmp_path / "seen").read_text())
    assert fds == ["0", "1", "2"]
    assert umask == 0o027


@linux_only
async def test_stop_ends_all_that_it_started_whatever_they_ignore(start, tmp_path):
    """Children, grandchildren in sessions of their own, orphans: SIGTERM, the grace, SIGKILL, and no zombie stays."""
    seen = tmp_path / "pids"
    child = start(python(FAMILY, seen, "stay"))
    await asyncio.to_thread(until, lambda: seen.exists() and seen.read_text().endswith("\n"), "the family")
    pids = [int(pid) for pid in seen.read_text().split()]

    assert await child.stop(grace_s=0.3) == 128 + signal.SIGKILL

    assert all(gone(pid) for pid in pids)


@linux_only
async def test_what_a_command_leaves_behind_ends_too(start, tmp_path):
    """After an end of its own as well: nothing works on without an identity, and its exit code stays its own."""
    seen = tmp_path / "pids"
    child = start(python(FAMILY, seen, "go"))

    assert await child.wait() == 0
    assert await child.stop(grace_s=5) == 0

    assert all(gone(int(pid)) for pid in seen.read_text().split())


async def test_stop_reaches_what_is_stopped(start):
    """A process that was suspended hears SIGTERM all the same."""
    child = start(python("import time; time.sleep(600)"))
    child.send_signal(signal.SIGSTOP)

    assert await child.stop(grace_s=20) == 128 + signal.SIGTERM


@linux_only
async def test_children_from_before_are_left_alone():
    """What a shell started before it became the agent is no part of the COMMAND; it is reaped, not ended."""
    older = await asyncio.create_subprocess_exec("sleep", "600")
    with Reaper() as reaper:
        child = CommandProcess.start(["true"], environ=os.environ, identity={}, reaper=reaper)
        await child.wait()
        await child.stop()

        assert older.returncode is None
        assert not gone(older.pid)
        assert reaper.left_behind() == []
    older.kill()
    await older.wait()


@linux_only
async def test_orphans_are_reaped_without_stealing_an_exit_code(start, reaper):
    """Forty orphans end around a COMMAND: none stays a zombie, and its exit code is not lost."""
    program = (
        "import subprocess, sys\n"
        "for _ in range(40): subprocess.run(['sh', '-c', 'sleep 0.05 &'])\n"
        "raise SystemExit(7)"
    )
    child = start(python(program))

    assert await child.wait() == 7
    assert await child.stop() == 7
    assert reaper.left_behind() == []


# --- one run after the other --------------------------------------------------------------------------------


class Waits:
    """Sleeps that end when the test says so."""

    def __init__(self):
        self.asked: asyncio.Queue[float] = asyncio.Queue()
        self.over = asyncio.Event()

    async def __call__(self, seconds):
        await self.asked.put(seconds)
        await self.over.wait()
        self.over.clear()


@pytest.fixture
def supervised(start):
    """Return a function that makes a CommandSupervisor for a COMMAND, with the test's waits and an event for its end."""

    def make(command, policy):
        waits, ended = Waits(), asyncio.Event()
        made = CommandSupervisor(
            functools.partial(_launch, start, command),
            restart=RestartPolicy(policy, chance=lambda: 1.0),
            on_end=ended.set,
            sleep=waits,
        )
        return made, waits, ended

    return make


def _launch(start, command, *, identity, on_stop):
    return start(command, identity=identity, on_stop=on_stop)


async def test_it_is_started_again_after_growing_waits(supervised, tmp_path):
    """`always`: each run is followed by another, with the identity of that moment, until it is stopped."""
    ran = tmp_path / "ran"
    program = "import os, sys; open(sys.argv[1], 'a').write(os.environ['LYFTDATA_WORKER_NAME'] + '\\n')"
    names = iter(["old", "new", "newer", "newest"])

    def identity():
        return {"LYFTDATA_WORKER_NAME": next(names)}

    kept, waits, ended = supervised(python(program, ran), "always")
    kept.ensure(identity)
    for wait_s in (1, 2, 4):
        async with asyncio.timeout(180):
            assert await waits.asked.get() == wait_s
        kept.ensure(identity)
        waits.over.set()
    async with asyncio.timeout(180):
        await waits.asked.get()
    await kept.stop()

    assert ran.read_text() == "old\nnew\nnewer\nnewest\n"
    assert not ended.is_set()
    assert kept.exit_code == 0


@pytest.mark.parametrize(("policy", "code"), [("never", 7), ("on-failure", 0)])
async def test_the_last_end_is_told(supervised, policy, code):
    """What is not started again ends the Worker, with its exit code."""
    kept, _, ended = supervised(python(f"raise SystemExit({code})"), policy)
    kept.ensure(dict)
    async with asyncio.timeout(180):
        await ended.wait()
    await kept.stop()

    assert kept.exit_code == code


async def test_stopped_it_is_not_started_again_until_it_is_let_in(supervised, tmp_path):
    """Between two runs the Server says no: no run follows; let in again, one does at once."""
    ran = tmp_path / "ran"
    kept, waits, _ = supervised(["sh", "-c", f"echo x >> {ran}; exit 1"], "on-failure")
    kept.ensure(dict)
    async with asyncio.timeout(180):
        await waits.asked.get()
    await kept.stop()
    waits.over.set()
    await asyncio.sleep(0)
    waits.over.clear()
    assert ran.read_text() == "x\n"

    kept.ensure(dict)
    async with asyncio.timeout(180):
        await waits.asked.get()
    await kept.stop()
    assert ran.read_text() == "x\nx\n"


async def test_a_program_that_is_missing_for_a_while_is_no_end(supervised, tmp_path):
    """Gone at a restart (an upgrade): one more failure; there again, it runs."""
    program = tmp_path / "press"

    def install(code):
        (tmp_path / "draft").write_text(f"#!/bin/sh\nexit {code}\n")
        (tmp_path / "draft").chmod(0o755)
        (tmp_path / "draft").rename(program)

    install(1)
    kept, waits, ended = supervised([str(program)], "on-failure")
    kept.ensure(dict)
    async with asyncio.timeout(180):
        await waits.asked.get()
        program.unlink()
        waits.over.set()
        assert await waits.asked.get() == 2
        assert kept.exit_code == 127
        install(0)
        waits.over.set()
        await ended.wait()
    await kept.stop()
    assert kept.exit_code == 0


async def test_a_signal_reaches_the_whole_group(start, tmp_path):
    """SIGUSR1 is heard by the process and by its child."""
    program = (
        "import os, signal, sys\n"
        "signal.signal(signal.SIGUSR1, lambda *_: (open(sys.argv[1] + str(os.getpid()), 'w').close(), os._exit(0)))\n"
        "other = os.fork()\n"
        "open(sys.argv[1] + 'ready' + str(os.getpid()), 'w').close()\n"
        "signal.pause()\n"
    )
    child = start(python(program, f"{tmp_path}/"))
    await asyncio.to_thread(until, lambda: len(list(tmp_path.glob("ready*"))) == 2, "both are ready")
    child.send_signal(signal.SIGUSR1)
    await asyncio.to_thread(until, lambda: len(list(tmp_path.glob("[0-9]*"))) == 2, "both have heard")

    assert await child.wait() == 0
    assert await child.stop() == 0


@pytest.mark.parametrize(
    ("environ", "inherits"),
    [
        ({"LYFTDATA_WORKER_API_KEY_FILE": "/run/credentials/press.service/key"}, False),
        ({"LYFTDATA_AUTO_ENROLLMENT_KEY_FILE": "/run/credentials/press.service/sub/../key"}, False),
        ({"LYFTDATA_WORKER_API_KEY_FILE": "/run/credentials/press.service-2/key"}, True),
        ({"LYFTDATA_WORKER_API_KEY_FILE": "/run/secrets/key"}, True),
        ({}, True),
    ],
)
def test_the_directory_of_the_agents_credentials_is_not_named(environ, inherits):
    """By `CREDENTIALS_DIRECTORY` systemd tells the agent where its key lies; where it lies elsewhere, the COMMAND may have its own."""
    directory = {"CREDENTIALS_DIRECTORY": "/run/credentials/press.service"}

    assert ("CREDENTIALS_DIRECTORY" in without_secrets(directory | environ)) is inherits
