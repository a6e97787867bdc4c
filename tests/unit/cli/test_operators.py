"""`lyftdata operators`."""

import itertools
import re

import pytest
from tests.unit.cli.conftest import CommandHost


@pytest.fixture(scope="module")
def numbers():
    """Return a counter, for the names of operators."""
    return itertools.count(1)


@pytest.fixture
def ada(operator, numbers):
    """Return the name and the first password of an operator that no other test uses."""
    name = f"ada-{next(numbers)}"
    return name, operator.done("operators", "add", name, "--role", "viewer").strip()


def test_only_the_first_password_is_on_standard_output(operator):
    """It is shown once; the message about it goes to standard error."""
    ended = operator.run("operators", "add", "vera", "--role", "viewer")

    assert ended.exit_code == 0
    assert re.fullmatch(r"\S{16,}\n", ended.output)
    assert ended.errors == "Operator vera added as viewer. The first password is shown once:\n"
    assert "must change password" in operator.done("operators", "list")


def test_a_first_password_signs_in_and_must_be_changed(listening, operator, ada, tmp_path):
    """The command says how."""
    name, password = ada
    host = CommandHost(tmp_path / "ada", LYFTDATA_URL=listening.url)

    ended = host.run("login", name, "--password-stdin", stdin=f"{password}\n")

    assert (ended.exit_code, ended.output) == (0, "Login successful\n")
    assert "This is a first password. Change it with: lyftdata password" in ended.errors


def test_an_operators_role_can_be_changed(operator, ada):
    """The list shows the new one."""
    name, _ = ada

    ended = operator.run("operators", "set-role", name, "admin")

    assert (ended.exit_code, ended.errors) == (0, f"Operator {name} is now admin\n")
    (shown,) = [one for one in operator.json("operators", "list") if one["name"] == name]
    assert shown["role"] == "admin"


def test_a_reset_password_replaces_the_old_one(listening, operator, ada, tmp_path):
    """The new one is on standard output; the old one is refused."""
    name, old = ada
    new = operator.done("operators", "reset-password", name, "--yes").strip()
    host = CommandHost(tmp_path / "ada", LYFTDATA_URL=listening.url)

    assert host.run("login", name, "--password-stdin", stdin=f"{old}\n").exit_code == 1
    assert host.run("login", name, "--password-stdin", stdin=f"{new}\n").exit_code == 0


def test_sessions_are_listed_and_ended(listening, operator, ada, tmp_path):
    """One by its ID, or all of an operator; the current session is marked."""
    name, password = ada
    host = CommandHost(tmp_path / "ada", LYFTDATA_URL=listening.url)

    def sessions():
        return [one for one in operator.json("operators", "sessions") if one["operator"] == name]

    host.done("login", name, "--password-stdin", stdin=f"{password}\n")
    (session,) = sessions()
    assert operator.run("operators", "revoke-session", session["id"], "--yes").errors == "Session ended\n"
    assert sessions() == []

    host.done("login", name, "--password-stdin", stdin=f"{password}\n")
    assert "ended" in operator.run("operators", "revoke-sessions", name, "--yes").errors
    assert sessions() == []
    assert "this one" in operator.done("operators", "sessions")


def test_a_deleted_operator_is_gone(operator, ada):
    """They are no longer in the list."""
    name, _ = ada

    assert operator.run("operators", "delete", name, "--yes").errors == f"Operator {name} deleted\n"
    assert name not in {one["name"] for one in operator.json("operators", "list")}


def test_a_sessions_id_is_never_mistaken_for_an_option(listening, operator, ada, tmp_path):
    """It contains no dash."""
    name, password = ada
    for number in range(3):
        host = CommandHost(tmp_path / f"ada-{number}", LYFTDATA_URL=listening.url)
        host.done("login", name, "--password-stdin", stdin=f"{password}\n")

    ids = [one["id"] for one in operator.json("operators", "sessions") if one["operator"] == name]
    assert len(ids) == 3
    assert all(re.fullmatch(r"[0-9a-f]{32}", identifier) for identifier in ids)
