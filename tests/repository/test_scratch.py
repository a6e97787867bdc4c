"""Where tests write."""

import os
import tempfile
from pathlib import Path

import pytest
from tests.scratch import choose_directory


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


def test_a_directory_from_which_no_program_starts_is_not_used(tmp_path, monkeypatch):
    """Tests start scripts that they have written."""
    found = os.statvfs(tmp_path)
    mounted = os.statvfs_result([*found[:8], found.f_flag | os.ST_NOEXEC, found.f_namemax])
    monkeypatch.setattr(os, "statvfs", lambda _: mounted)
    assert choose_directory(tmp_path, room=1) == usual()


def test_a_directory_that_was_chosen_stays(tmp_path, monkeypatch):
    """TMPDIR, as for every program."""
    monkeypatch.setenv("TMPDIR", "/elsewhere")
    assert choose_directory(tmp_path, room=1) == usual()
