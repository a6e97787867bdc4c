"""Confirmation before disruptive commands."""

import pytest
from tests.unit.cli.conftest import CommandHost


@pytest.mark.parametrize(
    "arguments",
    [
        ("workers", "delete", "w"),
        ("workers", "disable", "w"),
        ("operators", "delete", "o"),
        ("operators", "reset-password", "o"),
        ("operators", "revoke-session", "s"),
        ("api-key", "rotate", "some-key"),
        ("api-key", "rotate", "some-key", "--until", "2027-01-31T06:00Z"),
        ("enrollment", "end-previous", "some-key"),
    ],
)
def test_without_a_terminal_and_without_yes_nothing_is_done(tmp_path, arguments):
    """The command exits with 2, and sends no request."""
    ended = CommandHost(tmp_path, LYFTDATA_URL="http://127.0.0.1:1").run(*arguments)

    assert ended.exit_code == 2
    assert "--yes" in ended.errors


@pytest.mark.parametrize(
    "command",
    [
        ("workers", "disable"),
        ("workers", "delete"),
        ("api-key", "revoke"),
        ("api-key", "rotate"),
        ("operators", "reset-password"),
        ("operators", "delete"),
        ("operators", "revoke-session"),
        ("operators", "revoke-sessions"),
        ("resources", "delete"),
    ],
)
def test_a_missing_object_is_reported_without_a_question(operator, command):
    """On a terminal, a mistyped name exits with 1 before the confirmation."""
    ended = operator.run(*command, "pres-01", columns=80)

    assert (ended.exit_code, "'pres-01'" in ended.errors) == (1, True), ended.errors
    assert "[y/N]" not in ended.output + ended.errors


def test_answering_no_changes_nothing(operator):
    """The command exits with 1."""
    operator.done("workers", "add", "press-01", "--id", "press-01")

    ended = operator.run("workers", "disable", "press-01", columns=80, stdin="n\n")

    assert ended.exit_code == 1
    assert "Disable Worker press-01?" in ended.output + ended.errors
    assert operator.json("workers", "show", "press-01")["enabled"]
