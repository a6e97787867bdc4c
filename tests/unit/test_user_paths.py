"""Paths that depend on a home directory or a working directory which does not exist."""

import pytest

from lyftdata.core.errors import SettingsError
from lyftdata.server.runtime.settings import read_server_settings
from lyftdata.worker.settings import read_worker_settings


@pytest.mark.parametrize(
    ("read", "name"),
    [(read_worker_settings, "LYFTDATA_JOBS_DIR"), (read_server_settings, "LYFTDATA_STAGING_DIR")],
)
def test_a_relative_path_in_a_removed_directory_names_its_variable(tmp_path, monkeypatch, read, name):
    """With the cause and the remedy, not with an error about output that could not be written."""
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()

    with pytest.raises(SettingsError) as raised:
        read({name: "state"})
    assert raised.value.problems == [
        f"{name}: must be an absolute path: the working directory cannot be used (No such file or directory)."
    ]


def test_the_home_of_a_user_that_does_not_exist_is_reported():
    """A mistyped `~name/` is reported with its variable."""
    with pytest.raises(SettingsError) as raised:
        read_worker_settings({"LYFTDATA_JOBS_DIR": "~no-such-user-here/jobs"})
    assert raised.value.problems == [
        "LYFTDATA_JOBS_DIR: must be an absolute path, because there is no such home directory."
    ]
