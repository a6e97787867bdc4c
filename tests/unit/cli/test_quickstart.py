"""`lyftdata quickstart`: errors before it starts any program."""

import socket

from tests.unit.cli.conftest import CommandHost

from lyftdata.cli import quickstart


def test_a_directory_that_is_not_empty_is_rejected(tmp_path):
    """The demonstration must not be mixed with other files."""
    (tmp_path / "kept").mkdir(0o700)
    (tmp_path / "kept" / "letter").touch()

    ended = CommandHost(tmp_path / "host").run("quickstart", "--dir", str(tmp_path / "kept"))

    assert ended.exit_code == 2
    assert "is not empty: name a new directory" in ended.errors


def test_a_directory_that_cannot_be_created_is_an_error(tmp_path):
    """A file is in its place."""
    (tmp_path / "file").touch()

    ended = CommandHost(tmp_path / "host").run("quickstart", "--dir", str(tmp_path / "file" / "demo"))

    assert ended.exit_code == 2
    assert f"--dir: {tmp_path / 'file' / 'demo'} cannot be used" in ended.errors


def test_another_port_is_used_if_the_default_one_is_taken(monkeypatch):
    """A Server that already runs here keeps its port."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        monkeypatch.setattr(quickstart, "_PORT", taken.getsockname()[1])

        assert quickstart._free_port() not in {0, taken.getsockname()[1]}
