"""The directory of the token file and the token socket."""

import stat
import tempfile
from pathlib import Path

import pytest

from lyftdata.worker.identity.state import StateError
from lyftdata.worker.tokens.runtime_dir import runtime_directory


@pytest.fixture
def short():
    """Return a directory whose path is short enough for a socket."""
    with tempfile.TemporaryDirectory(prefix="ld-", dir="/tmp") as path:
        yield Path(path)


def test_the_runtime_directory_is_private_and_removed_after_use(short):
    """With mode 0700, below the directory that systemd or the login session names."""
    for name in ("RUNTIME_DIRECTORY", "XDG_RUNTIME_DIR"):
        with runtime_directory({name: str(short)}, jobs_dir=Path("/none")) as path:
            assert path.parent == short
            assert stat.S_IMODE(path.stat().st_mode) == 0o700
            (path / "token").write_text("x")
        assert list(short.iterdir()) == []


def test_the_first_of_several_runtime_directories_is_used(short):
    """A systemd unit may have more than one."""
    with runtime_directory({"RUNTIME_DIRECTORY": f"{short}:/run/other"}, jobs_dir=Path("/none")) as path:
        assert path.parent == short


def test_two_agents_of_one_user_have_separate_directories(short):
    """Even below the same runtime directory."""
    given = {"XDG_RUNTIME_DIR": str(short)}
    with (
        runtime_directory(given, jobs_dir=Path("/none")) as one,
        runtime_directory(given, jobs_dir=Path("/none")) as two,
    ):
        assert one != two


def test_a_world_writable_directory_is_skipped(short):
    """Without the sticky bit, another user could replace our directory."""
    bad = short / "open"
    bad.mkdir()
    bad.chmod(0o777)
    with runtime_directory({"XDG_RUNTIME_DIR": str(bad)}, jobs_dir=short) as path:
        assert path.parent != bad
    bad.chmod(0o1777)
    with runtime_directory({"XDG_RUNTIME_DIR": str(bad)}, jobs_dir=short) as path:
        assert path.parent == bad


def test_a_path_too_long_for_a_socket_is_skipped(short):
    """The kernel allows 108 bytes."""
    deep = short / ("d" * 90)
    deep.mkdir()
    with runtime_directory({"XDG_RUNTIME_DIR": str(deep)}, jobs_dir=short) as path:
        assert path.parent != deep


def test_without_a_usable_directory_the_error_names_the_setting(monkeypatch):
    """One clear error."""
    monkeypatch.setattr(tempfile, "gettempdir", lambda: "/none")
    with (
        pytest.raises(StateError, match="token file") as caught,
        runtime_directory({}, jobs_dir=Path("/none/either")),
    ):
        pass
    assert "XDG_RUNTIME_DIR" in caught.value.hint
