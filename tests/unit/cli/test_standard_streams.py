"""Commands that are started with closed standard streams."""

import subprocess
import sys

import pytest


@pytest.mark.parametrize(("closed", "open_"), [(1, 2), (2, 1)])
def test_a_closed_standard_stream_is_reported_on_the_other(tmp_path, closed, open_):
    """A command that could lose a key does nothing, and says why on the stream that is open."""
    files = {1: tmp_path / "out", 2: tmp_path / "err"}
    redirect = f"exec {closed}>&- {open_}>{files[open_]}"
    shell = f'{redirect}; exec "$0" -m lyftdata enrollment generate-key'
    done = subprocess.run(["sh", "-c", shell, sys.executable], check=False)
    assert done.returncode == 2
    name = {1: "standard output", 2: "standard error"}[closed]
    assert files[open_].read_text() == (
        f"Error: {name} is closed, and a key or password that this command makes would be lost. "
        "Redirect it to a file, or to /dev/null.\n"
    )


def test_a_worker_agent_needs_no_standard_streams(tmp_path):
    """With all three closed it gets as far as its settings, and its COMMAND's files never get their numbers."""
    script = (
        "import os\n"
        "from lyftdata.cli.standard_streams import fill_missing_streams, missing_streams\n"
        "fill_missing_streams()\n"
        "assert not missing_streams()\n"
        f"file = os.open({str(tmp_path / 'opened')!r}, os.O_CREAT | os.O_WRONLY)\n"
        "assert file > 2\n"
        "print('into the void', flush=True)\n"
        "os.write(file, b'done')\n"
    )
    subprocess.run(["sh", "-c", 'exec "$0" -c "$1" <&- >&- 2>&-', sys.executable, script], check=True)
    assert (tmp_path / "opened").read_text() == "done"
    shell = 'exec "$0" -m lyftdata run worker <&- >&- 2>&-'
    done = subprocess.run(
        ["sh", "-c", shell, sys.executable],
        env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "LYFTDATA_URL": "http://192.0.2.1:1"},
        check=False,
    )
    assert done.returncode == 2
