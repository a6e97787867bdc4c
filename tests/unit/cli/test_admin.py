"""`lyftdata admin` on the state of a stopped Server; tests/behaviour/journeys/test_recovery.py has a running one."""

import json
import re

import pytest
from tests.deployment import PASSWORD


def test_a_backup_is_private_and_never_overwritten(stopped, tmp_path):
    """The note about the secret key goes to standard error."""
    file = tmp_path / "monday.db"

    made = stopped.run("admin", "backup", str(file))

    assert made.exit_code == 0
    assert re.match(rf"Backed up to {file} and checked: \d+ bytes, \d+ audit events", made.output)
    assert "The secret key is not in it" in made.errors
    assert file.stat().st_mode & 0o777 == 0o600
    content = file.read_bytes()
    assert stopped.run("admin", "backup", str(file)).exit_code == 1
    assert file.read_bytes() == content


def test_restoring_a_backup_keeps_the_replaced_database(stopped, tmp_path):
    """As JSON: where the replaced database is, and which Workers are missing."""
    file = tmp_path / "monday.db"
    stopped.done("admin", "backup", str(file))

    restored = stopped.json("admin", "restore", str(file), "--yes")

    assert restored["audit"]["ok"]
    assert restored["missing_workers"] == []
    assert (tmp_path / restored["kept"]).is_file()


def test_restoring_needs_confirmation(stopped, tmp_path):
    """Without a terminal nothing is done."""
    file = tmp_path / "monday.db"
    stopped.done("admin", "backup", str(file))

    ended = stopped.run("admin", "restore", str(file))

    assert ended.exit_code == 2
    assert "there is no terminal to ask" in ended.errors


@pytest.mark.parametrize(
    ("arguments", "code", "problem"),
    [
        (("unlock", "carol"), 1, "There is no operator 'carol'"),
        (("unlock", "admin", "--from", "here"), 1, "'here' is not an IP address"),
        (("reset-password", "admin"), 2, "there is no terminal to ask"),
        (("reset-password", "carol", "--yes"), 1, "There is no operator 'carol'"),
    ],
)
def test_a_failing_command_says_why(stopped, arguments, code, problem):
    """Nothing is changed."""
    ended = stopped.run("admin", *arguments)

    assert ended.exit_code == code, ended.errors
    assert problem in ended.errors


def test_an_operator_is_unlocked(stopped):
    """For all addresses, or for one from which they sign in."""
    for more in ((), ("--from", "203.0.113.7")):
        ended = stopped.run("admin", "unlock", "admin", *more)
        assert (ended.exit_code, ended.errors) == (0, "Operator admin is unlocked.\n")


@pytest.mark.parametrize(
    ("typed", "problem"),
    [
        ("lyftdata-2026", "password is too easy to guess"),
        ("administrator1", "password must not be made of the operator's name"),
    ],
)
def test_a_weak_password_is_rejected(stopped, typed, problem):
    """The message says why, and does not repeat the password."""
    ended = stopped.run("admin", "reset-password", "admin", "--yes", "--password-stdin", stdin=f"{typed}\n")

    assert ended.exit_code == 1
    assert problem in ended.errors
    assert typed not in ended.errors


def test_a_password_from_standard_input_is_not_printed(stopped):
    """Neither as text nor in JSON."""
    command = ("admin", "reset-password", "admin", "--yes", "--password-stdin")

    text = stopped.run(*command, stdin=f"{PASSWORD}\n")
    as_json = stopped.run(*command, "--json", stdin=f"{PASSWORD}\n")

    assert text == (0, "", "Password of admin reset.\n")
    assert json.loads(as_json.output) == {"name": "admin"}


def test_a_log_that_contains_the_last_checkpoint_needs_no_acceptance(stopped):
    """The command does not ask for confirmation."""
    assert stopped.json("admin", "accept-audit-log") == {"accepted": False, "problem": None, "kept_as": None}
