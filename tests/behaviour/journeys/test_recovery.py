"""Recovery on the Server's host for operators who are locked out or have lost their password."""

import os
import subprocess

from tests.processes import PASSWORD, until

WRONG = "a wrong password\n"


def lock_out(site):
    """Guess until the right password is no longer checked."""
    for _ in range(6):
        site.operator.run("login", "admin", "--password-stdin", stdin=WRONG)
    locked = site.operator.run("login", "admin", "--password-stdin", stdin=f"{PASSWORD}\n")
    assert "Too many failed sign-ins" in locked.stderr


def events(site):
    """Return the audit events of the host."""
    return [(e["action"], e["subject"]) for e in site.operator.json("audit", "list") if e["actor"] == "host"]


def test_an_operator_can_be_unlocked_while_the_server_runs(open_site):
    """The next sign-in succeeds without a restart; the audit log records the unlock and stays intact."""
    site = open_site()
    lock_out(site)

    site.server_host.done("admin", "unlock", "admin")

    site.sign_in()
    assert events(site) == [("operator.unlocked", "operator:admin")]
    site.operator.done("audit", "verify")


def test_a_password_can_be_reset_while_the_server_runs(open_site):
    """The old password, sessions and API tokens end at once; the new password is printed only to standard output."""
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


def test_a_password_can_be_reset_while_the_server_is_stopped(open_site):
    """A password from standard input is set without being printed, and works when the Server is started."""
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
    """With standard output on a full disk the command exits 1, and the old session stays valid."""
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


def test_an_event_stream_ends_when_its_session_is_revoked(open_site):
    """A listener whose session was ended by a reset gets no further events."""
    site = open_site()
    operator = site.sign_in()
    watching = operator.start("workers", "watch")
    second = site.worker_host("second")
    second.done("login", "admin", "--password-stdin", stdin=f"{PASSWORD}\n")
    site.server_host.done(
        "admin", "reset-password", "admin", "--yes", "--password-stdin", stdin="quite another one\n"
    )

    until(lambda: not watching.alive(), "the stream ends")
