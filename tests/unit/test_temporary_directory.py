"""Temporary directories are removed when their program ends, or, if it was killed, when the next one starts."""

import os
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pytest

from lyftdata.temporary_directory import is_safe_directory, make_temporary_directory, remove_stale

PREFIX = "lyftdata-test-"
NOBODY = 65534

_KEEP = """
import sys, time
from pathlib import Path
from lyftdata.temporary_directory import make_temporary_directory
made = make_temporary_directory(Path(sys.argv[1]), prefix=sys.argv[2])
(made.path / "token").write_text("a token")
print(made.path, flush=True)
time.sleep(600)
"""


@pytest.fixture
def parent():
    """Return a directory for temporary directories."""
    with tempfile.TemporaryDirectory(prefix="ld-", dir="/tmp") as path:
        yield Path(path)


def killed(parent):
    """Return the directory that a killed program has left."""
    with subprocess.Popen(
        [sys.executable, "-c", _KEEP, parent, PREFIX], stdout=subprocess.PIPE, text=True
    ) as program:
        assert program.stdout is not None
        path = Path(program.stdout.readline().strip())
        program.send_signal(signal.SIGKILL)
    return path


def test_a_killed_programs_directory_is_removed(parent):
    """By the next program of its kind, with the token in it; one in use stays."""
    living = make_temporary_directory(parent, prefix=PREFIX)
    (living.path / "token").write_text("in use")
    left = killed(parent)
    assert (left / "token").read_text() == "a token"

    with make_temporary_directory(parent, prefix=PREFIX) as made:
        assert not left.exists()
        assert (living.path / "token").read_text() == "in use"
        assert made.path.stat().st_mode & 0o777 == 0o700
    assert not made.path.exists()
    living.close()
    assert list(parent.iterdir()) == []


def test_directories_of_other_programs_are_left_alone(parent):
    """Each kind of program removes only its own; another name or another length belongs to something else."""
    left = killed(parent)
    other = parent / f"{PREFIX}longer-abcdefgh"
    other.mkdir(mode=0o700)
    remove_stale(parent, prefix="lyftdata-other-")
    remove_stale(parent, prefix=PREFIX)

    assert not left.exists()
    assert other.exists()


def test_nothing_is_removed_through_a_link(parent, tmp_path):
    """Neither through a link in a shared directory that leads to a lyftdata directory, nor through a lock that is a link."""
    (tmp_path / "precious").mkdir(mode=0o700)
    (tmp_path / "precious" / "lock").touch(0o600)
    (tmp_path / "precious" / "work").write_text("mine")
    (parent / f"{PREFIX}aaaaaaaa").symlink_to(tmp_path / "precious")
    trap = parent / f"{PREFIX}bbbbbbbb"
    trap.mkdir(mode=0o700)
    (trap / "lock").symlink_to(tmp_path / "precious" / "lock")
    remove_stale(parent, prefix=PREFIX)

    assert (tmp_path / "precious" / "work").read_text() == "mine"
    assert (tmp_path / "precious" / "lock").exists()
    assert trap.exists()


def test_links_inside_are_removed_and_not_followed(parent, tmp_path):
    """What a stale directory links to stays."""
    (tmp_path / "work").write_text("mine")
    left = killed(parent)
    (left / "link").symlink_to(tmp_path)
    remove_stale(parent, prefix=PREFIX)

    assert not left.exists()
    assert (tmp_path / "work").read_text() == "mine"


@pytest.mark.parametrize("mode", [0o755, 0o777, 0o710])
def test_a_directory_open_to_others_is_left_alone(parent, mode):
    """Others could have put anything into it."""
    left = killed(parent)
    left.chmod(mode)
    remove_stale(parent, prefix=PREFIX)

    assert left.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to give something to another user")
def test_a_directory_of_another_user_is_left_alone(parent):
    """Root's agent does not remove another user's directory with the same name."""
    left = killed(parent)
    os.chown(left, NOBODY, NOBODY)
    remove_stale(parent, prefix=PREFIX)

    assert left.exists()


def test_a_new_directory_that_is_not_locked_yet_is_not_removed(parent):
    """Of many programs that start, clean up and stop at once, each keeps its directory while it runs."""
    lost = []
    gate = threading.Barrier(8)

    def live():
        gate.wait()
        for number in range(40):
            with make_temporary_directory(parent, prefix=PREFIX) as made:
                (made.path / "token").write_text(str(number))
                remove_stale(parent, prefix=PREFIX)
                if not (made.path / "token").exists():
                    lost.append(made.path)

    running = [threading.Thread(target=live) for _ in range(8)]
    for each in running:
        each.start()
    for each in running:
        each.join()

    assert lost == []
    assert list(parent.iterdir()) == []


@pytest.mark.parametrize(
    ("mode", "safe"), [(0o700, True), (0o1777, True), (0o755, True), (0o777, False), (0o770, False)]
)
def test_a_directory_where_others_can_rename_is_not_safe(parent, mode, safe):
    """Another user could replace a lyftdata directory there."""
    parent.chmod(mode)
    assert is_safe_directory(parent) is safe
    parent.chmod(0o700)
