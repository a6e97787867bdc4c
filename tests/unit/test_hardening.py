"""A program of the same user cannot read the environment, memory or open files of a running Server or Worker."""

import os
import shutil
import subprocess
import sys
import tempfile
import uuid
from pathlib import Path

import pytest
from tests.builders import ENROLLMENT_KEY, SECRET_KEY
from tests.processes import Host, end_started, free_port

NOBODY = 65534
AS_NOBODY = ("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups")
LOOK = """
import os, sys
for name in ("environ", "mem", "maps", "fd"):
    path = f"/proc/{sys.argv[1]}/{name}"
    try:
        os.listdir(path) if name == "fd" else open(path, "rb").read(1)
        print(name, "read")
    except OSError as error:
        print(name, type(error).__name__)
"""

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="/proc and prctl are Linux's")


@pytest.fixture
def prefix():
    """Return the command prefix that runs a program as a user other than root, who could read everything in /proc."""
    if os.geteuid() != 0:
        return ()
    can = (
        shutil.which("setpriv") is not None
        and not subprocess.run(
            [*AS_NOBODY, sys.executable, "-c", "import lyftdata.serving"], capture_output=True, check=False
        ).returncode
    )
    if not can:
        pytest.skip("needs a user who is not root and can run this Python")
    return AS_NOBODY


@pytest.fixture
def host(prefix):
    """Return a host whose programs do not run as root."""
    with tempfile.TemporaryDirectory(prefix="ld-", dir="/tmp") as home:
        if prefix:
            os.chown(home, NOBODY, NOBODY)
        yield Host(
            Path(home),
            prefix=prefix,
            LYFTDATA_STAGING_DIR=f"{home}/s",
            LYFTDATA_JOBS_DIR=f"{home}/j",
            LYFTDATA_BIND_ADDRESS="127.0.0.1:0",
            LYFTDATA_URL=f"http://127.0.0.1:{free_port()}",
            LYFTDATA_WORKER_NAME="w",
            LYFTDATA_AUTO_ENROLLMENT_KEY=ENROLLMENT_KEY,
            LYFTDATA_SECRET_KEY=SECRET_KEY,
        )
        end_started()


def seen(pid, prefix):
    """Return what another program of the same user can read of a process."""
    done = subprocess.run(
        [*prefix, sys.executable, "-c", LOOK, str(pid)], capture_output=True, text=True, check=True
    )
    return dict(line.split() for line in done.stdout.splitlines())


@pytest.mark.parametrize(("side", "event"), [("server", "ready"), ("worker", "retrying")])
def test_a_program_of_the_same_user_reads_nothing(host, prefix, side, event):
    """Neither environment nor memory nor open files of a Server or of a Worker's agent."""
    program = host.start("run", side)
    program.wait_for(event)

    assert seen(program.process.pid, prefix) == {
        "environ": "PermissionError",
        "mem": "PermissionError",
        "maps": "PermissionError",
        "fd": "PermissionError",
    }


def test_an_unprotected_program_can_be_read(prefix):
    """The check above can fail: the environment of an ordinary program is readable."""
    sleeper = subprocess.Popen([*prefix, "sleep", "60"])
    try:
        assert seen(sleeper.pid, prefix)["environ"] == "read"
    finally:
        sleeper.kill()
        sleeper.wait()


def test_a_protected_program_can_still_read_its_inherited_files(host, prefix):
    """A secret may be on an inherited descriptor, such as /dev/stdin."""
    reading, writing = os.pipe()
    if prefix:
        # As in that user's own shell: only root could reopen a pipe that root owns.
        os.fchown(reading, NOBODY, NOBODY)
    os.write(writing, SECRET_KEY.encode() + b"\n")
    os.close(writing)
    done = subprocess.run(
        [*host.python, "config", "check", "server"],
        env={
            "LYFTDATA_SECRET_KEY_FILE": "/dev/stdin",
            # Does not exist but could be created: this user has no home directory.
            "LYFTDATA_STAGING_DIR": str(Path(tempfile.gettempdir()) / f"lyftdata-{uuid.uuid4().hex}"),
            "PATH": os.environ["PATH"],
        },
        stdin=reading,
        capture_output=True,
        text=True,
        check=False,
    )
    os.close(reading)
    assert done.returncode == 0, done.stderr
