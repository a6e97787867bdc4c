"""Times and keys as commands print them."""

import contextlib
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import click
import pytest

from lyftdata.cli.output import key_output, relative


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0s ago"), (59, "59s ago"), (60, "1m ago"), (7300, "2h ago"), (200_000, "2d ago"), (-90, "in 1m")],
)
def test_times_as_people_read_them(seconds, words):
    """The largest unit is enough."""
    now = datetime(2026, 3, 1, tzinfo=UTC)
    assert relative(now - timedelta(seconds=seconds), now=now) == words


def test_a_key_is_written_for_its_owner_alone(tmp_path):
    """A new file of mode 0600, never over one that is there; nothing is left when the key could not be made."""
    file = tmp_path / "press.key"
    with key_output(file) as key_out:
        key_out.show_or_save("lyftdata_x")
    assert (file.read_text(), file.stat().st_mode & 0o777) == ("lyftdata_x\n", 0o600)
    with pytest.raises(click.FileError, match="Give another file"), key_output(file):
        pytest.fail("written over")
    other = tmp_path / "other.key"

    def fail():
        raise ValueError("no key")

    with pytest.raises(ValueError, match="no key"), key_output(other):
        fail()
    assert not other.exists()


def test_where_a_key_went_is_said(tmp_path, capsys):
    """Shown, or in a file: standard error says which, and standard output has the key alone or nothing."""
    with key_output(None) as key_out:
        key_out.show_or_save("lyftdata_x")
    assert capsys.readouterr() == ("lyftdata_x\n", "It is shown once:\n")
    with key_output(tmp_path / "press.key") as key_out:
        key_out.show_or_save("lyftdata_x")
    assert capsys.readouterr() == ("", f"The key is in {tmp_path / 'press.key'}. It is not shown.\n")


def test_output_that_cannot_be_written_is_told(tmp_path):
    """On a full disk: one line and exit 1, and what to do about a key that was just made."""
    command = [sys.executable, "-m", "lyftdata", "enrollment", "generate-key"]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 1
    assert "could not be written" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_key_is_in_its_file_when_standard_error_has_gone(tmp_path, monkeypatch):
    """The file is written first; what cannot be said about it does not take it away."""
    with Path("/dev/full").open("w", buffering=1) as full, monkeypatch.context() as patched:
        patched.setattr(sys, "stderr", full)
        with key_output(tmp_path / "press.key") as key_out:
            key_out.show_or_save("lyftdata_x")
        with contextlib.suppress(OSError):
            full.close()
    assert (tmp_path / "press.key").read_text() == "lyftdata_x\n"
    with pytest.raises(OSError, match="later"), key_output(tmp_path / "other.key") as key_out:
        key_out.show_or_save("lyftdata_y")
        raise OSError("later")
    assert (tmp_path / "other.key").read_text() == "lyftdata_y\n"


def test_json_and_a_key_file_show_the_key_once(tmp_path):
    """With --output the key is in the file alone; JSON has null in its place."""
    with key_output(tmp_path / "press.key") as key_out:
        assert key_out.for_json("lyftdata_x") is None
    assert (tmp_path / "press.key").read_text() == "lyftdata_x\n"
    with key_output(None) as key_out:
        assert key_out.for_json("lyftdata_x") == "lyftdata_x"
