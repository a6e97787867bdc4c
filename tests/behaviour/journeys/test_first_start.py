"""After a first start that fails, the Server can still be started and signed in to."""

import os
import subprocess
from pathlib import Path

import pytest
from tests.certificates import self_signed
from tests.processes import Host, end_started, free_port, until


@pytest.fixture
def host(tmp_path):
    """Return the host of a Server that has never run and has no first password set."""
    yield Host(
        tmp_path / "server",
        LYFTDATA_STAGING_DIR=str(tmp_path / "server" / "staging"),
        LYFTDATA_BIND_ADDRESS=f"127.0.0.1:{free_port()}",
    )
    end_started()


def printed_password(program):
    """Return the first password that a Server has printed."""
    (line,) = until(
        lambda: [line for line in program.log.splitlines() if "password:" in line], "the first password"
    )
    return line.rpartition(" ")[2]


def test_a_start_with_an_unusable_certificate_creates_nothing(host, tmp_path):
    """It exits 2 and names the variable and the file; with the right file the Server starts and prints a password."""
    cert, key = self_signed(tmp_path)
    wrong = {"LYFTDATA_TLS_CERT": "/nowhere.pem", "LYFTDATA_TLS_KEY": str(key)}

    refused = host.run("run", "server", **wrong)
    checked = host.run("config", "check", "server", **wrong)

    message = "Error: LYFTDATA_TLS_CERT: /nowhere.pem cannot be read: no such file or directory."
    assert (refused.returncode, refused.stderr.strip()) == (2, message)
    assert (checked.returncode, checked.stderr.strip()) == (2, message)
    assert not Path(host.environ["LYFTDATA_STAGING_DIR"]).exists()

    program = host.start("run", "server", LYFTDATA_TLS_CERT=str(cert), LYFTDATA_TLS_KEY=str(key))
    program.wait_for("ready")
    signed_in = host.run(
        "login",
        "--password-stdin",
        stdin=f"{printed_password(program)}\n",
        LYFTDATA_URL=f"https://localhost:{host.environ['LYFTDATA_BIND_ADDRESS'].rpartition(':')[2]}",
        LYFTDATA_TLS_CA=str(cert),
    )
    assert signed_in.returncode == 0, signed_in.stderr


def full_disk():
    """Return an output stream to a full disk."""
    return os.fdopen(os.open("/dev/full", os.O_WRONLY), "wb")


def closed_pipe():
    """Return the writing end of a pipe whose reading end is closed."""
    reading, writing = os.pipe()
    os.close(reading)
    return os.fdopen(writing, "wb")


@pytest.mark.parametrize("output", [full_disk, closed_pipe])
def test_a_first_password_that_cannot_be_printed_is_not_set(host, output):
    """The start fails with a message; the next one prints a password that works."""
    with output() as stream:
        failed = subprocess.run(
            [*host.python, "run", "server"],
            env=host.environ,
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.PIPE,
            text=True,
            timeout=180,
            check=False,
        )
    assert failed.returncode == 1
    assert "The password could not be printed" in failed.stderr

    program = host.start("run", "server")
    program.wait_for("ready")

    url = f"http://{host.environ['LYFTDATA_BIND_ADDRESS']}"
    signed_in = host.run(
        "login", "--password-stdin", stdin=f"{printed_password(program)}\n", LYFTDATA_URL=url
    )
    assert signed_in.returncode == 0, signed_in.stderr
    program.terminate()

    again = host.start("run", "server")
    again.wait_for("ready")
    assert "password:" not in again.log
