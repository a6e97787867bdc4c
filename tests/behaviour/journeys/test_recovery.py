"""Operators who are locked out, or whose password is lost, are let in again from the Server's host."""

import os
import subprocess

from tests.processes import PASSWORD, until

WRONG = "a wrong password\n"


def lock_out(site):
    """Guess until the right password is not looked at any more."""
    for _ in range(6):
        site.operator.run("login", "admin", "--password-stdin", stdin=WRONG)
    locked = site.operator.run("login", "admin", "--password-stdin", stdin=f"{PASSWORD}\n")
    assert "Too many failed sign-ins" in locked.stderr


def events(site):
    """Return the audit events by the host."""
    return [(e["action"], e["subject"]) for e in site.operator.json("audit", "list") if e["actor"] == "host"]


def test_unlock_while_the_server_runs(open_site):
    """The next attempt is looked at, without a restart; the audit log says who did it and stays whole."""
    site = open_site()
    lock_out(site)

    site.server_host.done("admin", "unlock", "admin")

    site.sign_in()
    assert events(site) == [("operator.unlocked", "operator:admin")]
    site.operator.done("audit", "verify")


def test_reset_password_while_the_server_runs(open_site):
    """The old password, session and API tokens end at once; the new password is on standard output alone and signs in."""
    site = open_site()
    site.sign_in()
    own = f"xxx {PASSWORD}"
    assert site.operator.run("password", "--password-stdin", stdin=f"{PASSWORD}\n{own}\n").returncode == 0
    issued = site.operator.done("operators", "token", "issue", "ci-deploy", "--role", "viewer")
    pipeline = {"LYFTDATA_API_TOKEN": issued.strip()}
    assert site.operator.run("workers", "list", **pipeline).returncode == 0

    done = site.server_host.run("admin", "reset-password", "admin", "--yes")

    assert done.returncode == 0, done.stderr
    (password,) = done.stdout.split()
    assert password not in done.stderr
    assert site.operator.run("workers", "list").returncode == 1
    assert "was revoked" in site.operator.run("workers", "list", **pipeline).stderr
    old = site.operator.run("login", "admin", "--password-stdin", stdin=f"{own}\n")
    assert "Name or password is wrong" in old.stderr
    signed_in = site.operator.run("login", "admin", "--password-stdin", stdin=f"{password}\n")
    assert "This is a first password" in signed_in.stderr
    assert events(site) == [
        ("api_token.revoked", "api_token:ci-deploy"),
        ("operator.password_set", "operator:admin"),
    ]
    site.operator.done("audit", "verify")


def test_reset_password_while_no_server_runs(open_site):
    """A password given on standard input is set without being printed; the Server started next takes it."""
    site = open_site()
    site.sign_in()
    site.server.terminate()

    done = site.server_host.run(
        "admin", "reset-password", "admin", "--yes", "--password-stdin", stdin="quite another one\n"
    )
    assert (done.returncode, done.stdout) == (0, "")

    site.start_server()
    assert site.operator.run("workers", "list").returncode == 1
    site.operator.done("login", "admin", "--password-stdin", stdin="quite another one\n")
    site.operator.done("audit", "verify")


def test_a_password_that_cannot_be_printed_is_not_set(open_site):
    """Standard output on a full disk: exit 1, and the old password and session go on."""
    site = open_site()
    site.sign_in()
    host = site.server_host
    full = os.open("/dev/full", os.O_WRONLY)
    try:
        done = subprocess.run(
            [*host.python, "admin", "reset-password", "admin", "--yes"],
            env=host.environ,
            stdin=subprocess.DEVNULL,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    finally:
        os.close(full)

    assert done.returncode == 1
    assert "so it was not set" in done.stderr
    site.operator.done("workers", "list")
    assert events(site) == []


def test_an_event_stream_ends_with_the_session(open_site):
    """Anyone who listens with a session that a reset has ended hears nothing more, within a second of the next event."""
    site = open_site()
    operator = site.sign_in()
    watching = operator.start("workers", "watch")
    second = site.worker_host("second")
    second.done("login", "admin", "--password-stdin", stdin=f"{PASSWORD}\n")
    site.server_host.done(
        "admin", "reset-password", "admin", "--yes", "--password-stdin", stdin="quite another one\n"
    )

    until(lambda: not watching.alive(), "the stream ends")
