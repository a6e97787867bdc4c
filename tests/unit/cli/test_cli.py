"""The command line by itself: help, usage, secrets in arguments, completion, output."""

import contextlib
import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from tests.processes import Host

from lyftdata.cli.credentials import Credentials
from lyftdata.cli.main import _SECRET_FLAGS, cli, run
from lyftdata.cli.output import key_output, relative
from lyftdata.core.secret import Secret
from lyftdata.server.runtime.settings_table import TABLE


def every_command():
    """Return each command with its path."""

    def walk(path, command):
        yield path, command
        if isinstance(command, click.Group):
            context = click.Context(command)
            for name in command.list_commands(context):
                yield from walk([*path, name], command.get_command(context, name))

    return list(walk([], cli))


@pytest.mark.parametrize("path", [path for path, _ in every_command()], ids=" ".join)
def test_every_help_shows_an_example(path):
    """`--help` of every group and command answers 0 and shows an example."""
    result = CliRunner().invoke(cli, [*path, "--help"])

    assert result.exit_code == 0
    assert "Example" in result.output
    assert "lyftdata " in result.output


def test_the_listed_summaries_are_the_commands_own():
    """The lines of `lyftdata --help`, which come without importing, do not contradict the commands."""
    listed = CliRunner().invoke(cli, ["--help"]).output

    for path, _ in every_command():
        if len(path) == 1:
            assert f"  {path[0]} " in listed


@pytest.mark.parametrize("flag", sorted(_SECRET_FLAGS))
@pytest.mark.parametrize("form", ["{} s3cr3t-value", "{}=s3cr3t-value"])
def test_a_secret_on_the_command_line_is_answered_with_the_way_that_does(flag, form, capsys):
    """Exit 2, the variable or the prompt is named, and the secret is not repeated."""
    with pytest.raises(SystemExit) as stopped:
        run(["run", "worker", *form.format(flag).split()])
    said = capsys.readouterr().err

    assert stopped.value.code == 2
    assert "s3cr3t-value" not in said
    assert "LYFTDATA_" in said or "--password-stdin" in said


def test_a_commands_own_flags_are_its_own():
    """Behind `--` nothing is ours: a COMMAND may have a --password of its own."""
    from lyftdata.cli.main import refuse_secrets_in_arguments

    refuse_secrets_in_arguments(["run", "worker", "--", "psql", "--password"])


@pytest.mark.parametrize(
    "arguments",
    [
        ["nonsense"],
        ["workers", "nonsense"],
        ["workers", "add"],
        ["run", "worker", "--nonsense"],
        ["refusals", "list", "--limit", "0"],
        ["api-key", "issue", "some-key", "--expires", "soon"],
        ["workers", "add", "x", "--label", "a b"],
        ["completion", "tcsh"],
        ["config", "check", "both"],
    ],
)
def test_wrong_usage_is_exit_2(arguments, capsys):
    """A usage error is one message on standard error and exit 2."""
    assert run(arguments) == 2
    assert "Error" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        ("workers", "delete", "w"),
        ("workers", "disable", "w"),
        ("operators", "delete", "o"),
        ("operators", "reset-password", "o"),
        ("operators", "revoke-session", "s"),
        ("api-key", "rotate", "some-key"),
    ],
)
def test_what_cuts_off_does_nothing_without_an_answer(tmp_path, arguments):
    """Without a terminal and without --yes: exit 2, and nobody was even asked for a Server."""
    result = Host(tmp_path, LYFTDATA_URL="http://127.0.0.1:1").run(*arguments)

    assert result.returncode == 2
    assert "--yes" in result.stderr


def test_no_server_there(tmp_path):
    """A Server that cannot be reached, and a session that is not there, are told with what to do; exit 1."""
    host = Host(tmp_path, LYFTDATA_URL="http://127.0.0.1:1")

    not_signed_in = host.run("workers", "list")
    assert (not_signed_in.returncode, "lyftdata login" in not_signed_in.stderr) == (1, True)
    unreachable = host.run("login", "admin", "--password-stdin", stdin="x\n")
    assert (unreachable.returncode, "lyftdata run server" in unreachable.stderr) == (1, True)
    assert "Traceback" not in not_signed_in.stderr + unreachable.stderr


def test_config_check_reports_all_faults_at_once(tmp_path):
    """Every fault of either side, exit 2; fine settings show themselves without secrets, exit 0."""
    host = Host(tmp_path)
    bad = host.run(
        "config",
        "check",
        "server",
        "--json",
        LYFTDATA_BIND_ADDRESS="x",
        LYFTDATA_AUTO_ENROLLMENT_KEY="short-one",
    )
    assert bad.returncode == 2
    report = json.loads(bad.stdout)
    assert (report["ok"], len(report["problems"])) == (False, 2)
    assert "short-one" not in bad.stdout + bad.stderr
    good = host.run(
        "config", "check", "worker", LYFTDATA_WORKER_ID="w", LYFTDATA_WORKER_API_KEY="very-secret"
    )
    assert good.returncode == 0
    assert "***" in good.stdout
    assert "very-secret" not in good.stdout + good.stderr


def test_config_check_shows_no_secret_of_the_servers(tmp_path):
    """Whatever is marked as a secret is one: the database's URL holds a password."""
    given = {
        "LYFTDATA_AUTO_ENROLLMENT_KEY": "very-secret-1-Zt8qYw3nV5rKc1xLm7Pb",
        "LYFTDATA_AUTO_ENROLLMENT_KEY_PREVIOUS": "very-secret-2-Zt8qYw3nV5rKc1xLm7Pb",
        "LYFTDATA_DATABASE_URL": "postgresql://lyftdata:very-secret@127.0.0.1:1/lyftdata",
        "LYFTDATA_ADMIN_INIT_PASSWORD": "very-secret password",
        "LYFTDATA_SECRET_KEY": "very-secret-3-Zt8qYw3nV5rKc1xLm7Pb",
    }
    assert given.keys() == {setting.name for setting in TABLE if setting.secret}

    public_url = "https://lyft.example"
    for form in ((), ("--json",)):
        shown = Host(tmp_path).run(
            "config", "check", "server", *form, LYFTDATA_PUBLIC_URL=public_url, **given
        )
        assert shown.returncode == 0, shown.stderr
        assert shown.stdout.count("***") == len(given)
        assert "very-secret" not in shown.stdout + shown.stderr


def test_generated_keys_stand_alone_on_standard_output(tmp_path):
    """`enrollment generate-key` needs no Server; two keys differ."""
    host = Host(tmp_path)
    first, second = host.done("enrollment", "generate-key"), host.done("enrollment", "generate-key")

    assert first != second
    assert first.startswith("lyftdata_enroll_")
    assert len(first.strip()) == 65
    assert first.count("\n") == 1


def test_a_generated_key_goes_to_a_private_file(tmp_path):
    """`--output` writes a new file that its owner alone can read, and replaces none."""
    host = Host(tmp_path)
    assert host.done("enrollment", "generate-key", "--output", "enrollment.key") == ""
    file = tmp_path / "enrollment.key"

    assert len(file.read_text().strip()) == 65
    assert file.stat().st_mode & 0o777 == 0o600
    assert host.run("enrollment", "generate-key", "--output", "enrollment.key").returncode == 1


def test_completion_completes_in_bash():
    """bash, given our script, completes a command and a subcommand."""
    program = f"""
export PATH="{Path(sys.executable).parent}:$PATH"
eval "$(lyftdata completion bash)"
ask() {{ COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=(); _lyftdata_completion lyftdata; echo "${{COMPREPLY[@]}}"; }}
ask lyftdata wor
ask lyftdata workers dis
"""
    done = subprocess.run(["bash", "-c", program], capture_output=True, text=True, check=True)

    assert done.stdout.splitlines() == ["workers", "disable"]


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_completion_scripts_for_other_shells(shell):
    """Zsh and fish get scripts of their own."""
    assert "_LYFTDATA_COMPLETE" in CliRunner().invoke(cli, ["completion", shell]).output


def test_credentials_are_private_and_per_server(tmp_path):
    """The file has mode 0600 in a directory of 0700, and a token a Server."""
    credentials = Credentials(tmp_path / "c")
    credentials.store("http://a", Secret("one"))
    credentials.store("http://b", Secret("two"))
    credentials.forget("http://a")

    assert credentials.find("http://a") is None
    kept = credentials.find("http://b")
    assert kept is not None
    assert kept.reveal() == "two"
    (file,) = (tmp_path / "c").iterdir()
    assert (oct(file.stat().st_mode & 0o777), oct(file.parent.stat().st_mode & 0o777)) == ("0o600", "0o700")


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0s ago"), (59, "59s ago"), (60, "1m ago"), (7300, "2h ago"), (200_000, "2d ago"), (-90, "in 1m")],
)
def test_times_as_people_read_them(seconds, words):
    """The largest unit is enough."""
    now = datetime(2026, 3, 1, tzinfo=UTC)
    assert relative(now - timedelta(seconds=seconds), now=now) == words


def test_a_servers_words_reach_the_terminal_as_text(monkeypatch, capsys):
    """Terminal escapes in a message or a hint are not obeyed."""
    from lyftdata.core.errors import LyftdataError

    def fail(*_args, **_more):
        raise LyftdataError("\x1b]0;pwned\x07 down\nfor now", hint="\x9b31m wait")

    monkeypatch.setattr(cli, "main", fail)

    assert run(["token"]) == 1
    said = capsys.readouterr().err
    assert said == "Error: \ufffd]0;pwned\ufffd down\nfor now\nHint: \ufffd31m wait\n"


@pytest.mark.parametrize("odd", ["", ".", "..", "a/b", " "])
def test_what_is_no_id_asks_for_nothing(odd, capsys):
    """A script with an unset variable must not ask for something else."""
    assert run(["workers", "show", odd]) == 2
    assert "is not an ID or a name" in capsys.readouterr().err


def test_a_key_is_written_for_its_owner_alone(tmp_path):
    """A new file of mode 0600, never over one that is there; nothing is left when the key could not be made."""
    file = tmp_path / "press.key"
    with key_output(file) as key_out:
        key_out.hand_out("lyftdata_x")
    assert (file.read_text(), file.stat().st_mode & 0o777) == ("lyftdata_x\n", 0o600)
    with pytest.raises(click.FileError), key_output(file):
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
        key_out.hand_out("lyftdata_x")
    assert capsys.readouterr() == ("lyftdata_x\n", "It is shown once:\n")
    with key_output(tmp_path / "press.key") as key_out:
        key_out.hand_out("lyftdata_x")
    assert capsys.readouterr() == ("", f"It is in {tmp_path / 'press.key'}, and shown nowhere.\n")


def test_output_that_cannot_be_written_is_told(tmp_path):
    """On a full disk: one line and exit 1, and what to do about a key that was just made."""
    command = [sys.executable, "-m", "lyftdata", "enrollment", "generate-key"]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 1
    assert "could not be written" in done.stderr
    assert "Traceback" not in done.stderr


def test_other_errors_of_the_system_are_not_reported_as_failed_output(tmp_path):
    """A settings file's or directory's own error is told, with its name."""
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o700)
    (locked / "credentials.json").mkdir()
    done = Host(tmp_path / "h", LYFTDATA_CONFIG_DIR=str(locked)).run("workers", "list")
    assert done.returncode == 2
    assert "credentials.json is not a regular file" in done.stderr
    assert "output" not in done.stderr


@pytest.mark.parametrize(("closed", "open_"), [(1, 2), (2, 1)])
def test_a_closed_standard_stream_is_reported_on_the_other(tmp_path, closed, open_):
    """A command that could lose a key does nothing, and says why where it still can."""
    files = {1: tmp_path / "out", 2: tmp_path / "err"}
    redirect = f"exec {closed}>&- {open_}>{files[open_]}"
    shell = f'{redirect}; exec "$0" -m lyftdata enrollment generate-key'
    done = subprocess.run(["sh", "-c", shell, sys.executable], check=False)
    assert done.returncode == 2
    name = {1: "standard output", 2: "standard error"}[closed]
    assert files[open_].read_text() == (
        f"Error: {name} is closed, and a key or password that this command makes would be lost. "
        "Redirect it to a file, or to /dev/null.\n"
    )


def test_a_worker_agent_needs_no_standard_streams(tmp_path):
    """Started with all three closed it goes on to its settings, and its COMMAND's files never get their numbers."""
    script = (
        "import os\n"
        "from lyftdata.cli.standard_streams import fill_missing_streams, missing_streams\n"
        "fill_missing_streams()\n"
        "assert not missing_streams()\n"
        f"file = os.open({str(tmp_path / 'opened')!r}, os.O_CREAT | os.O_WRONLY)\n"
        "assert file > 2\n"
        "print('into the void', flush=True)\n"
        "os.write(file, b'done')\n"
    )
    subprocess.run(["sh", "-c", 'exec "$0" -c "$1" <&- >&- 2>&-', sys.executable, script], check=True)
    assert (tmp_path / "opened").read_text() == "done"
    shell = 'exec "$0" -m lyftdata run worker <&- >&- 2>&-'
    done = subprocess.run(
        ["sh", "-c", shell, sys.executable],
        env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "LYFTDATA_URL": "http://192.0.2.1:1"},
        check=False,
    )
    assert done.returncode == 2


def test_a_key_is_in_its_file_when_standard_error_has_gone(tmp_path, monkeypatch):
    """The file is written first; what cannot be said about it does not take it away."""
    with Path("/dev/full").open("w", buffering=1) as full, monkeypatch.context() as patched:
        patched.setattr(sys, "stderr", full)
        with key_output(tmp_path / "press.key") as key_out:
            key_out.hand_out("lyftdata_x")
        with contextlib.suppress(OSError):
            full.close()
    assert (tmp_path / "press.key").read_text() == "lyftdata_x\n"
    with pytest.raises(OSError, match="later"), key_output(tmp_path / "other.key") as key_out:
        key_out.hand_out("lyftdata_y")
        raise OSError("later")
    assert (tmp_path / "other.key").read_text() == "lyftdata_y\n"


def test_json_and_a_key_file_show_the_key_once(tmp_path):
    """With --output the key is in the file alone; JSON has null in its place."""
    with key_output(tmp_path / "press.key") as key_out:
        assert key_out.for_json("lyftdata_x") is None
    assert (tmp_path / "press.key").read_text() == "lyftdata_x\n"
    with key_output(None) as key_out:
        assert key_out.for_json("lyftdata_x") == "lyftdata_x"


@pytest.mark.parametrize(("typed", "meant"), [("worker", "workers"), ("audits", "audit"), ("logn", "login")])
def test_a_mistyped_command_names_the_nearest(typed, meant, capsys):
    """As for the commands of a group."""
    assert run([typed, "list"]) == 2
    assert f"No such command '{typed}'. Did you mean '{meant}'?" in capsys.readouterr().err
