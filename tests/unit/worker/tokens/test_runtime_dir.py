"""Where the token file and the token socket are kept."""

import stat
import tempfile
from pathlib import Path

import pytest

from lyftdata.worker.identity.state import StateError
from lyftdata.worker.tokens.runtime_dir import runtime_directory


@pytest.fixture
def short():
    """Return a directory with a path that leaves room for a socket's name."""
    with tempfile.TemporaryDirectory(prefix="ld-", dir="/tmp") as path:
        yield Path(path)


def test_it_is_private_and_ends_with_its_use(short):
    """Mode 0700, below what systemd or the login names, and gone afterwards with all that is in it."""
    for name in ("RUNTIME_DIRECTORY", "XDG_RUNTIME_DIR"):
        with runtime_directory({name: str(short)}, jobs_dir=Path("/none")) as path:
            assert path.parent == short
            assert stat.S_IMODE(path.stat().st_mode) == 0o700
            (path / "token").write_text("x")
        assert list(short.iterdir()) == []


def test_systemd_may_name_several(short):
    """The first of a unit's runtime directories is taken."""
    with runtime_directory({"RUNTIME_DIRECTORY": f"{short}:/run/other"}, jobs_dir=Path("/none")) as path:
        assert path.parent == short


def test_two_agents_have_two(short):
    """Two agents of one user do not meet."""
    given = {"XDG_RUNTIME_DIR": str(short)}
    with (
        runtime_directory(given, jobs_dir=Path("/none")) as one,
        runtime_directory(given, jobs_dir=Path("/none")) as two,
    ):
        assert one != two


def test_a_place_where_others_can_swap_files_is_passed_over(short):
    """What is open to all without the sticky bit is not used: another user could put a directory in our stead."""
    bad = short / "open"
    bad.mkdir()
    bad.chmod(0o777)
    with runtime_directory({"XDG_RUNTIME_DIR": str(bad)}, jobs_dir=short) as path:
        assert path.parent != bad
    bad.chmod(0o1777)
    with runtime_directory({"XDG_RUNTIME_DIR": str(bad)}, jobs_dir=short) as path:
        assert path.parent == bad


def test_a_path_too_long_for_a_socket_is_passed_over(short):
    """The kernel takes 108 bytes for a socket's path."""
    deep = short / ("d" * 90)
    deep.mkdir()
    with runtime_directory({"XDG_RUNTIME_DIR": str(deep)}, jobs_dir=short) as path:
        assert path.parent != deep


def test_without_any_place_it_is_told(monkeypatch):
    """No place: one clear error with what to set."""
    monkeypatch.setattr(tempfile, "gettempdir", lambda: "/none")
    with (
        pytest.raises(StateError, match="token file") as caught,
        runtime_directory({}, jobs_dir=Path("/none/either")),
    ):
        pass
    assert "XDG_RUNTIME_DIR" in caught.value.hint
