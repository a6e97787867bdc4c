"""Directories that go with their program: at its end, or, if it was killed, when the next one starts."""

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
def place():
    """Return a place for such directories."""
    with tempfile.TemporaryDirectory(prefix="ld-", dir="/tmp") as path:
        yield Path(path)


def killed(place):
    """Return what a program has left that was killed."""
    with subprocess.Popen(
        [sys.executable, "-c", _KEEP, place, PREFIX], stdout=subprocess.PIPE, text=True
    ) as program:
        assert program.stdout is not None
        path = Path(program.stdout.readline().strip())
        program.send_signal(signal.SIGKILL)
    return path


def test_what_a_killed_program_has_left_is_removed(place):
    """By the next one of its kind, with the token in it; what lives stays."""
    living = make_temporary_directory(place, prefix=PREFIX)
    (living.path / "token").write_text("in use")
    left = killed(place)
    assert (left / "token").read_text() == "a token"

    with make_temporary_directory(place, prefix=PREFIX) as made:
        assert not left.exists()
        assert (living.path / "token").read_text() == "in use"
        assert made.path.stat().st_mode & 0o777 == 0o700
    assert not made.path.exists()
    living.close()
    assert list(place.iterdir()) == []


def test_another_kind_is_left_alone(place):
    """Each kind of program removes its own; another name or another length is somebody else's."""
    left = killed(place)
    other = place / f"{PREFIX}longer-abcdefgh"
    other.mkdir(mode=0o700)
    remove_stale(place, prefix="lyftdata-other-")
    remove_stale(place, prefix=PREFIX)

    assert not left.exists()
    assert other.exists()


def test_nothing_is_removed_through_a_link(place, tmp_path):
    """A link in a shared place that leads to a lyftdata directory, or a lock that is a link, leads to nothing removed."""
    (tmp_path / "precious").mkdir(mode=0o700)
    (tmp_path / "precious" / "lock").touch(0o600)
    (tmp_path / "precious" / "work").write_text("mine")
    (place / f"{PREFIX}aaaaaaaa").symlink_to(tmp_path / "precious")
    trap = place / f"{PREFIX}bbbbbbbb"
    trap.mkdir(mode=0o700)
    (trap / "lock").symlink_to(tmp_path / "precious" / "lock")
    remove_stale(place, prefix=PREFIX)

    assert (tmp_path / "precious" / "work").read_text() == "mine"
    assert (tmp_path / "precious" / "lock").exists()
    assert trap.exists()


def test_links_inside_are_removed_and_not_followed(place, tmp_path):
    """What a stale directory links to stays."""
    (tmp_path / "work").write_text("mine")
    left = killed(place)
    (left / "link").symlink_to(tmp_path)
    remove_stale(place, prefix=PREFIX)

    assert not left.exists()
    assert (tmp_path / "work").read_text() == "mine"


@pytest.mark.parametrize("mode", [0o755, 0o777, 0o710])
def test_what_is_open_to_others_is_not_ours(place, mode):
    """Others could have put anything there: it is not touched."""
    left = killed(place)
    left.chmod(mode)
    remove_stale(place, prefix=PREFIX)

    assert left.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to give something to another user")
def test_what_belongs_to_another_user_is_left_alone(place):
    """Root's agent does not remove what another user has under the same name."""
    left = killed(place)
    os.chown(left, NOBODY, NOBODY)
    remove_stale(place, prefix=PREFIX)

    assert left.exists()


def test_one_that_is_not_locked_yet_is_not_lost(place):
    """Many that start and stop at once, each removing what is stale: every one keeps its directory as long as it lives."""
    lost = []
    gate = threading.Barrier(8)

    def live():
        gate.wait()
        for number in range(40):
            with make_temporary_directory(place, prefix=PREFIX) as made:
                (made.path / "token").write_text(str(number))
                remove_stale(place, prefix=PREFIX)
                if not (made.path / "token").exists():
                    lost.append(made.path)

    running = [threading.Thread(target=live) for _ in range(8)]
    for each in running:
        each.start()
    for each in running:
        each.join()

    assert lost == []
    assert list(place.iterdir()) == []


@pytest.mark.parametrize(
    ("mode", "safe"), [(0o700, True), (0o1777, True), (0o755, True), (0o777, False), (0o770, False)]
)
def test_where_others_can_move_names_is_not_safe(place, mode, safe):
    """A lyftdata directory could be replaced there by another user's."""
    place.chmod(mode)
    assert is_safe_directory(place) is safe
    place.chmod(0o700)
