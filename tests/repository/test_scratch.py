"""The directory that tests write to."""

import os
import tempfile
from pathlib import Path

import pytest
from tests.scratch import choose_directory, make_directory


@pytest.fixture(autouse=True)
def _unset(monkeypatch):
    """Unset TMPDIR, so that the function chooses."""
    monkeypatch.delenv("TMPDIR", raising=False)


def usual():
    """Return the usual directory for temporary files."""
    return Path(tempfile.gettempdir())


def test_a_directory_with_room_is_used(tmp_path):
    """Whatever its name."""
    assert choose_directory(tmp_path, room=1) == tmp_path


def test_a_directory_without_room_is_not_used(tmp_path):
    """In a container, the file system in memory has 64 MB."""
    assert choose_directory(tmp_path, room=2**60) == usual()


def test_a_directory_that_does_not_exist_is_not_used(tmp_path):
    """Other systems than Linux have no /dev/shm."""
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
def test_a_directory_must_allow_programs_and_devices(tmp_path, monkeypatch, flag, needs_devices, is_used):
    """Tests start scripts that they have written, and tests of packages make system roots with device files."""
    found = os.statvfs(tmp_path)
    flags = found.f_flag & ~(os.ST_NOEXEC | os.ST_NODEV) | flag
    mounted = os.statvfs_result([*found[:8], flags, found.f_namemax])
    monkeypatch.setattr(os, "statvfs", lambda _: mounted)
    chosen = choose_directory(tmp_path, room=1, needs_devices=needs_devices)
    assert chosen == (tmp_path if is_used else usual())


def test_tmpdir_takes_precedence(tmp_path, monkeypatch):
    """As for every program."""
    monkeypatch.setenv("TMPDIR", "/elsewhere")
    assert choose_directory(tmp_path, room=1) == usual()


def test_each_run_has_its_own_directory_with_the_mode_of_tmp(tmp_path, monkeypatch):
    """So that programs of another user can access it."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    made = make_directory()
    assert (made.parent, made.stat().st_mode & 0o7777) == (tmp_path, 0o1777)
    assert make_directory() != made
