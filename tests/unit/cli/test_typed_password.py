"""A command for an irreversible action asks for the password again."""

import contextlib
import sqlite3

import pytest
from tests.deployment import PASSWORD


@pytest.fixture
def old_authentication(listening, operator):
    """Remove the time of the operator's last authentication, as if it were long ago."""
    with contextlib.closing(sqlite3.connect(listening.staging / "lyftdata.db", timeout=30)) as database:
        database.execute("UPDATE admin_sessions SET authenticated_at = NULL")
        database.commit()


def test_at_a_terminal_the_password_is_asked_for_once(operator, old_authentication):
    """Then the command continues, and the session's new token is stored for the following commands."""
    ended = operator.run("operators", "add", "ada", stdin=f"{PASSWORD}\n", columns=100)

    assert ended.exit_code == 0, ended.errors
    assert "confirm that it is you" in ended.errors
    assert PASSWORD not in ended.errors + ended.output
    assert operator.run("operators", "delete", "ada", "--yes").exit_code == 0


def test_a_wrong_password_does_nothing(operator, old_authentication):
    """The command fails with the reason."""
    ended = operator.run("operators", "add", "bob", stdin="wrong wrong wrong\n", columns=100)

    assert ended.exit_code == 1
    assert "The current password is wrong." in ended.errors
    assert "bob" not in operator.done("operators", "list")


def test_without_a_terminal_it_says_to_sign_in_again(listening, operator, old_authentication):
    """A script can do that with `--password-stdin`."""
    ended = operator.run("operators", "add", "cyd")
    assert (ended.exit_code, "lyftdata login" in ended.errors) == (1, True)

    operator.done("login", "admin", "--password-stdin", stdin=f"{PASSWORD}\n")

    operator.done("operators", "add", "cyd")
    operator.done("operators", "delete", "cyd", "--yes")
