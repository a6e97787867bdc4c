"""The command line as a whole: help, usage errors, secrets in arguments."""

import click
import pytest
from click.testing import CliRunner

from lyftdata.cli.main import _SECRET_FLAGS, cli, run


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
    """`--help` of every group and command exits with 0."""
    result = CliRunner().invoke(cli, [*path, "--help"])

    assert result.exit_code == 0
    assert "Example" in result.output
    assert "lyftdata " in result.output


def test_every_command_is_listed_in_the_help():
    """`lyftdata --help` prints the list without importing the commands, so that it could miss one."""
    listed = CliRunner().invoke(cli, ["--help"]).output

    for path, _ in every_command():
        if len(path) == 1:
            assert f"  {path[0]} " in listed


@pytest.mark.parametrize("flag", sorted(_SECRET_FLAGS))
@pytest.mark.parametrize("form", ["{} s3cr3t-value", "{}=s3cr3t-value"])
def test_a_secret_on_the_command_line_is_rejected_with_the_alternative(flag, form, capsys):
    """It exits with 2 and names the variable or the prompt, without repeating the secret."""
    with pytest.raises(SystemExit) as stopped:
        run(["run", "worker", *form.format(flag).split()])
    message = capsys.readouterr().err

    assert stopped.value.code == 2
    assert "s3cr3t-value" not in message
    assert "LYFTDATA_" in message or "--password-stdin" in message


def test_flags_after_the_separator_belong_to_the_command():
    """After `--`, COMMAND may have its own --password."""
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
def test_a_usage_error_exits_with_2(arguments, capsys):
    """With one message on standard error."""
    assert run(arguments) == 2
    assert "Error" in capsys.readouterr().err


def test_terminal_escapes_from_a_server_are_not_printed(monkeypatch, capsys):
    """Neither in a message nor in a hint."""
    from lyftdata.core.errors import LyftdataError

    def fail(*_args, **_more):
        raise LyftdataError("\x1b]0;pwned\x07 down\nfor now", hint="\x9b31m wait")

    monkeypatch.setattr(cli, "main", fail)

    assert run(["token"]) == 1
    message = capsys.readouterr().err
    assert message == "Error: \ufffd]0;pwned\ufffd down\nfor now\nHint: \ufffd31m wait\n"


@pytest.mark.parametrize(("typed", "meant"), [("worker", "workers"), ("audits", "audit"), ("logn", "login")])
def test_a_mistyped_command_suggests_the_nearest(typed, meant, capsys):
    """For top-level commands too."""
    assert run([typed, "list"]) == 2
    assert f"No such command '{typed}'. Did you mean '{meant}'?" in capsys.readouterr().err
