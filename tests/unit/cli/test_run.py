"""`lyftdata run`: errors before a Server or a Worker starts."""

import pytest
from click.testing import CliRunner
from tests.unit.cli.conftest import CommandHost

from lyftdata.cli import run as module
from lyftdata.cli.main import cli


@pytest.mark.parametrize(
    ("arguments", "setting"),
    [
        (("server", "--bind-address", "nowhere"), "LYFTDATA_BIND_ADDRESS"),
        (("worker", "--url", "ftp://lyftdata.example.com"), "LYFTDATA_URL"),
    ],
)
def test_an_invalid_setting_is_named(arguments, setting, tmp_path):
    """The command exits with 2 and creates no directory."""
    host = CommandHost(
        tmp_path / "host",
        LYFTDATA_STAGING_DIR=str(tmp_path / "staging"),
        LYFTDATA_JOBS_DIR=str(tmp_path / "jobs"),
    )

    ended = host.run("run", *arguments)

    assert ended.exit_code == 2
    assert setting in ended.errors or arguments[1] in ended.errors
    assert not (tmp_path / "staging").exists()
    assert not (tmp_path / "jobs").exists()


@pytest.mark.parametrize("side", ["server", "worker"])
def test_each_flag_names_its_setting(side):
    """A flag's help ends with its variable; no flag takes a secret."""
    shown = CliRunner().invoke(cli, ["run", side, "--help"], terminal_width=200).output

    table = module.server_table() if side == "server" else module.worker_table()
    assert all(f"[{setting.name}]" in shown for setting in table if setting.flag is not None)
    assert "API_KEY]" not in shown
    assert "PASSWORD]" not in shown


def test_a_missing_server_package_is_reported(monkeypatch, tmp_path):
    """A host with only the Worker's package lacks the Server's libraries."""
    monkeypatch.setattr(module, "_SERVER_LIBRARIES", ("no_such_library",))

    ended = CommandHost(tmp_path).run("run", "server")

    assert ended.exit_code == 1
    assert "The Server is not installed here (no_such_library missing)" in ended.errors
