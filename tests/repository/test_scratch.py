"""Where tests write."""

import os
import tempfile
from pathlib import Path

import pytest
from tests.scratch import choose_directory, make_directory


@pytest.fixture(autouse=True)
def _unset(monkeypatch):
    """Leave the choice to the function."""
    monkeypatch.delenv("TMPDIR", raising=False)


def usual():
    """Return the usual directory for temporary files."""
    return Path(tempfile.gettempdir())


def test_a_directory_with_room_is_used(tmp_path):
    """Whatever it is called."""
    assert choose_directory(tmp_path, room=1) == tmp_path


def test_without_room_tests_write_to_the_usual_directory(tmp_path):
    """A container's memory file system has 64 MB."""
    assert choose_directory(tmp_path, room=2**60) == usual()


def test_a_directory_that_does_not_exist_is_not_used(tmp_path):
    """Other systems have no file system in memory."""
    assert choose_directory(tmp_path / "none", room=1) == usual()


@pytest.mark.parametrize(
    ("flag", "needs_devices", "is_used"),
    [
        (os.ST_NOEXEC, False, False),
        (os.ST_NODEV, False, True),
        (os.ST_NODEV, True, False),
        (0, True, True),
    ],
)
def test_what_is_written_there_can_be_used(tmp_path, monkeypatch, flag, needs_devices, is_used):
    """Tests start scripts that they have written, and those of packages make roots of systems with devices."""
    found = os.statvfs(tmp_path)
    flags = found.f_flag & ~(os.ST_NOEXEC | os.ST_NODEV) | flag
    mounted = os.statvfs_result([*found[:8], flags, found.f_namemax])
    monkeypatch.setattr(os, "statvfs", lambda _: mounted)
    chosen = choose_directory(tmp_path, room=1, needs_devices=needs_devices)
    assert chosen == (tmp_path if is_used else usual())


def test_a_directory_that_was_chosen_stays(tmp_path, monkeypatch):
    """TMPDIR, as for every program."""
    monkeypatch.setenv("TMPDIR", "/elsewhere")
    assert choose_directory(tmp_path, room=1) == usual()


def test_a_run_has_a_directory_of_its_own_with_the_mode_of_tmp(tmp_path, monkeypatch):
    """Programs that run as another user reach what is in it."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    made = make_directory()
    assert (made.parent, made.stat().st_mode & 0o7777) == (tmp_path, 0o1777)
    assert make_directory() != made
