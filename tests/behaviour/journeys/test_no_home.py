"""Containers and services run under user IDs without a name, without a home directory, or with another user's home."""

import shutil
import subprocess

import pytest
from tests.builders import ENROLLMENT_KEY
from tests.deployment import PASSWORD
from tests.processes import Host

UNKNOWN_USER = ("unshare", "--user", "--map-user=12345", "--map-group=12345")


def can_be_unknown():
    """Return whether we may run as an unknown user on this machine."""
    if shutil.which("unshare") is None:
        return False
    return subprocess.run([*UNKNOWN_USER, "true"], capture_output=True, check=False).returncode == 0


pytestmark = pytest.mark.skipif(not can_be_unknown(), reason="needs the right to make a user namespace")


def host_without_home(path, **environ):
    """Return a host whose user has neither HOME nor an entry in /etc/passwd."""
    host = Host(path, prefix=UNKNOWN_USER, **environ)
    del host.environ["HOME"]
    return host


def test_no_home_is_needed_if_every_directory_is_set(site, tmp_path):
    """The Worker, the command line, the check of the Server's settings and the client library work."""
    host = host_without_home(
        tmp_path / "unknown",
        LYFTDATA_URL=site.url,
        LYFTDATA_JOBS_DIR=str(tmp_path / "jobs"),
        LYFTDATA_CONFIG_DIR=str(tmp_path / "config"),
        LYFTDATA_STAGING_DIR=str(tmp_path / "staging"),
        LYFTDATA_WORKER_NAME="press-02",
    )
    host.start("run", "worker", LYFTDATA_AUTO_ENROLLMENT_KEY=ENROLLMENT_KEY).wait_for("online")
    host.done("login", "admin", "--password-stdin", stdin=f"{PASSWORD}\n")
    assert [worker["name"] for worker in host.json("workers", "list")] == ["press-02"]
    host.done("config", "check", "server")
    library = subprocess.run(
        [
            *UNKNOWN_USER,
            host.python[-3],
            "-c",
            "from lyftdata.client import TokenKeeper; TokenKeeper.from_environment().get()",
        ],
        env=host.environ,
        capture_output=True,
        text=True,
        check=False,
    )
    assert library.returncode == 0, library.stderr


def test_a_missing_home_is_a_one_line_error(tmp_path):
    """Each command that needs a directory which is not set exits 2 and names the variable to set."""
    host = host_without_home(tmp_path / "unknown", LYFTDATA_URL="http://127.0.0.1:1")
    enrolling = {"LYFTDATA_WORKER_NAME": "w", "LYFTDATA_AUTO_ENROLLMENT_KEY": ENROLLMENT_KEY}
    for arguments, variable, environ in (
        (("run", "server"), "LYFTDATA_STAGING_DIR", {}),
        (("config", "check", "server"), "LYFTDATA_STAGING_DIR", {}),
        (("workers", "list"), "LYFTDATA_CONFIG_DIR", {}),
        (("run", "worker"), "LYFTDATA_JOBS_DIR", enrolling),
        (("config", "check", "worker"), "LYFTDATA_JOBS_DIR", enrolling),
    ):
        done = host.run(*arguments, **environ)
        assert done.returncode == 2, (arguments, done.stderr)
        assert done.stderr == f"Error: {variable}: must be set, because this user has no home directory.\n"


@pytest.mark.parametrize("home", ["none", "another user's"])
def test_a_worker_with_an_api_key_needs_no_directory(plain_site, tmp_path, home):
    """It runs its command and gets a token, whether its user has no home or one without access."""
    key = plain_site.operator.done("workers", "add", "press-01", "--id", "press-01", "--issue-key").strip()
    host = host_without_home(
        tmp_path / "unknown",
        LYFTDATA_URL=plain_site.url,
        LYFTDATA_WORKER_ID="press-01",
        LYFTDATA_WORKER_API_KEY=key,
    )
    if home != "none":
        closed = tmp_path / "closed"
        closed.mkdir(mode=0)
        host.environ["HOME"] = str(closed)

    assert host.run("run", "worker", "--", "true").returncode == 0
    assert host.done("token").count(".") == 2
