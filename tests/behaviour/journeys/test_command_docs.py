"""The how-to about a COMMAND works: its program and its container are taken from the page and run."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[3] / "docs" / "how-to" / "run-a-program-under-an-identity.md"


def block(language):
    """Return the page's code block in a language."""
    (found,) = re.findall(
        rf"^```{language}\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
    )
    return found


@pytest.fixture
def host(site):
    """Return the host of a Worker with a key file and the page's program."""
    key = site.operator.done("workers", "add", "press-01", "--id", "press-01", "--issue-key").strip()
    made = site.worker_host("press-01", LYFTDATA_WORKER_ID="press-01", LYFTDATA_WORKER_API_KEY_FILE="key.txt")
    (made.home / "key.txt").write_text(key)
    (made.home / "press.sh").write_text(block("sh"))
    return made


def check(printed):
    """Check that a run printed what the page shows."""
    first, second = printed.splitlines()
    assert first == "by file: 204"
    assert set(json.loads(second)) == {"access_token", "token_type", "expires_in"}


@pytest.mark.skipif(shutil.which("curl") is None, reason="no curl on this machine")
def test_the_program_of_the_page_runs(host):
    """From a shell, it uses the token from the file and prints the answer of the socket."""
    check(host.done("run", "worker", "--", "sh", "press.sh"))


@pytest.mark.skipif(shutil.which("curl") is None, reason="no curl on this machine")
def test_the_container_of_the_page_runs(host):
    """The page's ENTRYPOINT and CMD, as PID 1 of a namespace."""
    found = re.findall(r"^(?:ENTRYPOINT|CMD) (\[.*\])$", block("dockerfile"), re.MULTILINE)
    program, *arguments = [word for argv in found for word in json.loads(argv)]
    assert program == "lyftdata"
    argv = [sys.executable, "-m", "lyftdata", *arguments[:-1], "press.sh"]
    namespace = ["unshare", "--pid", "--fork", "--mount-proc"]
    if (
        shutil.which("unshare") is None
        or subprocess.run([*namespace, "true"], capture_output=True, check=False).returncode
    ):
        pytest.skip("needs the right to make a PID namespace")
    done = subprocess.run(
        [*namespace, *argv],
        env=host.environ,
        cwd=host.home,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    check(done.stdout)
