"""How commands on the Server's host find its state."""

import os

import pytest

from lyftdata.cli.state_location import find_state


@pytest.mark.parametrize("is_option", [True, False])
def test_the_data_directory_is_the_option_or_the_setting(tmp_path, monkeypatch, is_option):
    """The option takes precedence."""
    monkeypatch.setenv("LYFTDATA_STAGING_DIR", str(tmp_path / "setting"))

    place = find_state(str(tmp_path / "option") if is_option else None)

    assert place.sqlite_file().parent == tmp_path / ("option" if is_option else "setting")


def test_files_that_commands_write_are_private(tmp_path):
    """Copies, and the files that SQLite creates next to them."""
    find_state(str(tmp_path))

    (tmp_path / "copy").touch()
    assert (tmp_path / "copy").stat().st_mode & 0o777 == 0o600
    assert os.umask(0o022) == 0o077
