"""The command line as a whole: help, usage, secrets in arguments."""

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
    message = capsys.readouterr().err

    assert stopped.value.code == 2
    assert "s3cr3t-value" not in message
    assert "LYFTDATA_" in message or "--password-stdin" in message


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


def test_a_servers_words_reach_the_terminal_as_text(monkeypatch, capsys):
    """Terminal escapes in a message or a hint are not obeyed."""
    from lyftdata.core.errors import LyftdataError

    def fail(*_args, **_more):
        raise LyftdataError("\x1b]0;pwned\x07 down\nfor now", hint="\x9b31m wait")

    monkeypatch.setattr(cli, "main", fail)

    assert run(["token"]) == 1
    message = capsys.readouterr().err
    assert message == "Error: \ufffd]0;pwned\ufffd down\nfor now\nHint: \ufffd31m wait\n"


@pytest.mark.parametrize(("typed", "meant"), [("worker", "workers"), ("audits", "audit"), ("logn", "login")])
def test_a_mistyped_command_names_the_nearest(typed, meant, capsys):
    """As for the commands of a group."""
    assert run([typed, "list"]) == 2
    assert f"No such command '{typed}'. Did you mean '{meant}'?" in capsys.readouterr().err
