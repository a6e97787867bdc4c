"""Processes: how the COMMAND is started, gets signals, is ended with all its descendants, and is restarted."""

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

# Starts one process in its group, one in its own session, and one that loses its parent; all ignore SIGTERM.
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
    """Return this process's reaper."""
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
    """Return whether a process no longer exists, not even as a zombie."""
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
    """Unchanged from 0 to 255; 128 plus the signal for a process that a signal killed."""
    child = start(python(program))

    assert await child.wait() == code
    assert await child.stop() == code
    assert gone(child.pid)


async def test_a_command_that_cannot_be_started_is_named(start):
    """If the program does not exist or is not executable, a CommandError has its name."""
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
def test_a_command_is_looked_up_as_by_a_shell(tmp_path, program, code):
    """On the COMMAND's PATH or at its path: 127 if it does not exist, 126 if it cannot be executed."""
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


async def test_the_command_inherits_only_its_standard_files_and_the_umask(start, tmp_path):
    """Standard input, output and error are its only open files, and it has the given umask."""
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
async def test_stop_ends_all_descendants_whatever_they_ignore(start, tmp_path):
    """Children, grandchildren in other sessions and orphans get SIGTERM, the grace period and SIGKILL; no zombie is left."""
    seen = tmp_path / "pids"
    child = start(python(FAMILY, seen, "stay"))
    await asyncio.to_thread(until, lambda: seen.exists() and seen.read_text().endswith("\n"), "the family")
    pids = [int(pid) for pid in seen.read_text().split()]

    assert await child.stop(grace_s=0.3) == 128 + signal.SIGKILL

    assert all(gone(pid) for pid in pids)


@linux_only
async def test_descendants_that_a_command_leaves_behind_are_ended(start, tmp_path):
    """Also after it has exited by itself: nothing goes on without an identity. The exit code is still its own."""
    seen = tmp_path / "pids"
    child = start(python(FAMILY, seen, "go"))

    assert await child.wait() == 0
    assert await child.stop(grace_s=5) == 0

    assert all(gone(int(pid)) for pid in seen.read_text().split())


async def test_stop_ends_a_suspended_process(start):
    """It still gets SIGTERM."""
    child = start(python("import time; time.sleep(600)"))
    child.send_signal(signal.SIGSTOP)

    assert await child.stop(grace_s=20) == 128 + signal.SIGTERM


@linux_only
async def test_children_from_before_the_agent_are_left_alone():
    """What a shell started before it became the agent is not part of the COMMAND."""
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
    """None stays a zombie, and the COMMAND's exit code is not lost."""
    program = (
        "import subprocess, sys\n"
        "for _ in range(40): subprocess.run(['sh', '-c', 'sleep 0.05 &'])\n"
        "raise SystemExit(7)"
    )
    child = start(python(program))

    assert await child.wait() == 7
    assert await child.stop() == 7
    assert reaper.left_behind() == []


# --- restarts ---------------------------------------------------------------------------------------------


class Waits:
    """Sleeps that end when a test says so."""

    def __init__(self):
        self.asked: asyncio.Queue[float] = asyncio.Queue()
        self.over = asyncio.Event()

    async def __call__(self, seconds):
        await self.asked.put(seconds)
        await self.over.wait()
        self.over.clear()


@pytest.fixture
def supervised(start):
    """Return a function that makes a supervisor for a COMMAND, and returns it with its waits and an event for its end."""

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


async def test_the_command_is_restarted_with_backoff(supervised, tmp_path):
    """With `always`, each run is followed by another with the identity at that time, until it is stopped."""
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
async def test_a_command_that_is_not_restarted_ends_the_worker(supervised, policy, code):
    """With its exit code."""
    kept, _, ended = supervised(python(f"raise SystemExit({code})"), policy)
    kept.ensure(dict)
    async with asyncio.timeout(180):
        await ended.wait()
    await kept.stop()

    assert kept.exit_code == code


async def test_a_stopped_command_is_not_restarted_until_the_worker_is_accepted(supervised, tmp_path):
    """If the Server refuses the Worker between two runs, none follows; when it is accepted again, one starts at once."""
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


async def test_a_program_that_is_missing_at_a_restart_is_retried(supervised, tmp_path):
    """As during an upgrade: it counts as a failure, and the program runs once it exists again."""
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


async def test_a_signal_reaches_the_whole_process_group(start, tmp_path):
    """Both the process and its child get SIGUSR1."""
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
    await asyncio.to_thread(
        until, lambda: len(list(tmp_path.glob("[0-9]*"))) == 2, "both have received the signal"
    )

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
def test_the_command_does_not_inherit_the_agents_credentials_directory(environ, inherits):
    """`CREDENTIALS_DIRECTORY` is removed only if the agent's key is in it; otherwise the COMMAND may have its own there."""
    directory = {"CREDENTIALS_DIRECTORY": "/run/credentials/press.service"}

    assert ("CREDENTIALS_DIRECTORY" in without_secrets(directory | environ)) is inherits
