"""Times, keys and tables as commands print them."""

import contextlib
import re
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import click
import pytest

from lyftdata.cli.output import key_output, relative


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0s ago"),
        (59, "59s ago"),
        (60, "1m ago"),
        (7300, "2h ago"),
        (200_000, "2d ago"),
        (-89, "in 1m"),
        (-43_199, "in 12h"),
    ],
)
def test_times_are_shown_relative_to_now(seconds, words):
    """With the largest unit only."""
    now = datetime(2026, 3, 1, tzinfo=UTC)
    assert relative(now - timedelta(seconds=seconds), now=now) == words


def test_a_key_file_is_readable_only_by_its_owner(tmp_path):
    """It is a new file with mode 0600 and never overwrites one; nothing is left behind if the key could not be made."""
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


def test_standard_error_says_where_a_key_is(tmp_path, capsys):
    """Standard output has only the key, or nothing if it is in a file."""
    with key_output(None) as key_out:
        key_out.show_or_save("lyftdata_x")
    assert capsys.readouterr() == ("lyftdata_x\n", "It is shown once:\n")
    with key_output(tmp_path / "press.key") as key_out:
        key_out.show_or_save("lyftdata_x")
    assert capsys.readouterr() == ("", f"The key is in {tmp_path / 'press.key'}. It is not shown.\n")
    with key_output(tmp_path / "ci.token", kind="token") as token_out:
        token_out.show_or_save("lyftdata_token_x")
    assert capsys.readouterr() == ("", f"The token is in {tmp_path / 'ci.token'}. It is not shown.\n")


def test_unwritable_output_is_reported(tmp_path):
    """On a full disk the command prints one line, without a traceback, and exits with 1."""
    command = [sys.executable, "-m", "lyftdata", "enrollment", "generate-key"]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 1
    assert "could not be written" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_key_file_is_written_even_if_standard_error_is_closed(tmp_path, monkeypatch):
    """The file is written first; a later error does not remove it."""
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


def test_with_output_the_key_is_not_in_the_json(tmp_path):
    """It is only in the file, and null in the JSON."""
    with key_output(tmp_path / "press.key") as key_out:
        assert key_out.for_json("lyftdata_x") is None
    assert (tmp_path / "press.key").read_text() == "lyftdata_x\n"
    with key_output(None) as key_out:
        assert key_out.for_json("lyftdata_x") == "lyftdata_x"


ID = "press-" + "0123456789" * 4 + ".hall-7"
KEY_NAME = "key-for_" + "abcdefghij" * 4
OPERATOR = "ada-" + "lovelace" * 5
RESOURCE = "orders-" + "x" * 30
AUDIENCE = "https://orders.example/" + "y" * 40


@pytest.fixture(scope="module")
def public_id(listening, operator):
    """Create entries with long IDs and names; return the API key's public ID."""
    operator.done("workers", "add", "A press with a long name", "--id", ID, "--label", "zone=eu-central-1b")
    operator.done("workers", "add", "short", "--id", "w-short")
    key = operator.done("api-key", "issue", KEY_NAME, "--worker", ID, "--worker", "w-short").strip()
    operator.done("operators", "add", OPERATOR, "--role", "viewer")
    operator.done("resources", "add", RESOURCE, "--audience", AUDIENCE)
    wrong = listening.worker_host("wrong", LYFTDATA_WORKER_ID=ID, LYFTDATA_WORKER_API_KEY=key[:-1])
    assert wrong.run("token").exit_code == 3
    return key.split("_")[1]


@pytest.mark.parametrize("columns", [80, 60])
@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (("workers", "list"), [ID, "w-short"]),
        (("api-key", "list"), [KEY_NAME, "PUBLIC_ID"]),
        (("audit", "list"), [f"worker:{ID}", f"operator:{OPERATOR}", "worker.created"]),
        (("refusals", "list"), [ID, "malformed_api_key"]),
        (("operators", "list"), [OPERATOR]),
        (("operators", "sessions"), ["admin"]),
        (("resources", "list"), [RESOURCE, AUDIENCE]),
    ],
)
def test_no_list_truncates_what_another_command_needs(operator, public_id, command, expected, columns):
    """IDs, key names, operators, actors and subjects are shown unbroken, however narrow the terminal is."""
    ended = operator.run(*command, columns=columns)

    assert ended.exit_code == 0, ended.errors
    shown = re.sub(r"\x1b\[[0-9;]*m", "", ended.output)
    wanted = [public_id if text == "PUBLIC_ID" else text for text in expected]
    assert [text for text in wanted if text not in shown] == [], shown
    assert "\u2026" not in shown


def test_a_list_that_fits_is_a_table(listen):
    """With short IDs and names at 80 columns, there is one line per Worker under a heading."""
    operator = listen().signed_in()
    for name in ("press-01", "press-02"):
        operator.done("workers", "add", name, "--id", name)

    lines = operator.run("workers", "list", columns=80).output.splitlines()

    assert len(lines) == 3
    assert "ID" in lines[0]
