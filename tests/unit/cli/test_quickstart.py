"""`lyftdata quickstart`: what stops it before it starts a program."""

import socket

from tests.unit.cli.conftest import CommandHost

from lyftdata.cli import quickstart


def test_a_directory_that_is_not_empty_is_refused(tmp_path):
    """It would mix the demonstration with what is there."""
    (tmp_path / "kept").mkdir(0o700)
    (tmp_path / "kept" / "letter").touch()

    ended = CommandHost(tmp_path / "host").run("quickstart", "--dir", str(tmp_path / "kept"))

    assert ended.exit_code == 2
    assert "is not empty: name a new directory" in ended.errors


def test_a_directory_that_cannot_be_made_is_named(tmp_path):
    """A file is in its way."""
    (tmp_path / "file").touch()

    ended = CommandHost(tmp_path / "host").run("quickstart", "--dir", str(tmp_path / "file" / "demo"))

    assert ended.exit_code == 2
    assert f"--dir: {tmp_path / 'file' / 'demo'} cannot be used" in ended.errors


def test_another_port_is_taken_where_the_usual_one_is_in_use(monkeypatch):
    """A Server that runs here already keeps its port."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        monkeypatch.setattr(quickstart, "_PORT", taken.getsockname()[1])

        assert quickstart._free_port() not in {0, taken.getsockname()[1]}
