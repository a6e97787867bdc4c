"""`lyftdata login`, `logout` and `password`."""

import pytest
from tests.deployment import PASSWORD
from tests.unit.cli.conftest import CommandHost

NEW_PASSWORD = "moss lantern 41 gravel"


@pytest.fixture
def host(listening, tmp_path):
    """Return a host on which no operator is signed in."""
    return CommandHost(tmp_path / "desk", LYFTDATA_URL=listening.url)


def test_a_wrong_password_is_reported_without_repeating_it(host):
    """With exit code 1."""
    ended = host.run("login", "admin", "--password-stdin", stdin="a wrong password\n")

    assert (ended.exit_code, ended.output) == (1, "")
    assert "Name or password is wrong" in ended.errors
    assert "a wrong password" not in ended.errors


@pytest.mark.parametrize(
    ("arguments", "stdin", "problem"),
    [
        (("--password-stdin",), "", "Standard input holds no password"),
        ((), "", "There is no terminal to ask for the password"),
    ],
)
def test_a_missing_password_is_a_usage_error(host, arguments, stdin, problem):
    """It exits with 2, and sends no request."""
    ended = host.run("login", "admin", *arguments, stdin=stdin)

    assert ended.exit_code == 2
    assert problem in ended.errors


def test_signing_out_ends_the_session(host):
    """Other commands then say how to sign in; signing out again fails."""
    host.done("login", "admin", "--password-stdin", stdin=f"{PASSWORD}\n")

    assert host.done("logout") == "Signed out\n"

    assert "lyftdata login" in host.run("workers", "list").errors
    assert host.run("logout").exit_code == 1


def test_signing_out_everywhere_ends_sessions_on_other_hosts(listening, host, tmp_path):
    """Commands on the other host fail from then on."""
    other = CommandHost(tmp_path / "other", LYFTDATA_URL=listening.url)
    for each in (host, other):
        each.done("login", "admin", "--password-stdin", stdin=f"{PASSWORD}\n")

    host.done("logout", "--everywhere")

    assert other.run("workers", "list").exit_code == 1


def test_a_weak_new_password_is_rejected_with_the_reason(host):
    """The old password stays valid, and the new one is not repeated."""
    host.done("login", "admin", "--password-stdin", stdin=f"{PASSWORD}\n")

    ended = host.run("password", "--password-stdin", stdin=f"{PASSWORD}\nbbbbbbbbbbbb\n")

    assert ended.exit_code == 1
    assert "password is too easy to guess" in ended.errors
    assert "bbbbbbbbbbbb" not in ended.errors
    host.done("login", "admin", "--password-stdin", stdin=f"{PASSWORD}\n")


def test_only_the_changed_password_signs_in(host):
    """The old one is refused."""
    host.done("login", "admin", "--password-stdin", stdin=f"{PASSWORD}\n")

    changed = host.done("password", "--password-stdin", stdin=f"{PASSWORD}\n{NEW_PASSWORD}\n")

    assert changed == "Password changed\n"
    assert host.run("login", "admin", "--password-stdin", stdin=f"{PASSWORD}\n").exit_code == 1
    host.done("login", "admin", "--password-stdin", stdin=f"{NEW_PASSWORD}\n")
    # The other tests of this file need the original one.
    host.done("password", "--password-stdin", stdin=f"{NEW_PASSWORD}\n{PASSWORD}\n")


def log_in(host, password=PASSWORD):
    """Try to sign in as `admin`; return the ended command."""
    return host.run("login", "admin", "--password-stdin", stdin=f"{password}\n")


@pytest.mark.parametrize("changes", [False, True], ids=["after a sign-in", "after a change of the password"])
def test_guesses_of_others_do_not_lock_out_a_known_device(listen, tmp_path, changes):
    """Its device mark outlives signing out; all other hosts behind the same address must wait, even with the right password."""
    server = listen()
    host, password = server.signed_in(), PASSWORD
    if changes:
        host.done("password", "--password-stdin", stdin=f"{PASSWORD}\n{NEW_PASSWORD}\n")
        password = NEW_PASSWORD
    host.done("logout")
    other_host = CommandHost(tmp_path / "stranger", LYFTDATA_URL=server.url)
    guesses = [log_in(other_host, "a wrong password").errors for _ in range(5)]
    assert all("Name or password is wrong" in errors for errors in guesses)

    assert "Too many failed sign-ins" in log_in(other_host, password).errors
    assert log_in(host, password).exit_code == 0


@pytest.mark.parametrize("given", [("vera",), ("--password-stdin",)])
def test_device_login_takes_no_name_and_no_password(operator, given):
    """The browser determines the operator: it exits with 2 before any request."""
    ended = operator.run("login", *given, "--device", stdin="a password\n")
    assert ended.exit_code == 2
    assert "--device cannot be combined" in ended.errors
